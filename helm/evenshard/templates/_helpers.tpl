{{- define "evenshard.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains "evenshard" .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-evenshard" .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- /* (root, component) */}}
{{- define "evenshard.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: evenshard
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* (root, component) */}}
{{- define "evenshard.labels" -}}
{{- $root := index . 0 -}}
{{ include "evenshard.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: evenshard
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{- define "evenshard.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "evenshard.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{- define "evenshard.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- /* host:port of every member of etcd, by commas. */}}
{{- define "evenshard.etcdEndpoints" -}}
{{- if .Values.etcd.enabled -}}
{{- $name := printf "%s-etcd" (.Release.Name | trunc 50 | trimSuffix "-") -}}
{{- $members := list -}}
{{- range $number := until (int .Values.etcd.replicas) -}}
{{- $members = append $members (printf "%s-%d.%s.%s.svc:2379" $name $number $name $.Release.Namespace) -}}
{{- end -}}
{{- join "," $members -}}
{{- else -}}
{{- join "," .Values.externalEtcd.endpoints -}}
{{- end -}}
{{- end }}

{{- /* A quantity of memory (Mi or Gi) in MiB. */}}
{{- define "evenshard.mebibytes" -}}
{{- if hasSuffix "Gi" . -}}
{{ mul (trimSuffix "Gi" . | int64) 1024 }}
{{- else -}}
{{ trimSuffix "Mi" . | int64 }}
{{- end -}}
{{- end }}

{{- /* Cores, rounded up, that a process counts on: (limits.cpu). */}}
{{- define "evenshard.cores" -}}
{{- $cpu := toString . -}}
{{- if hasSuffix "m" $cpu -}}
{{ max 1 (div (add (trimSuffix "m" $cpu | int64) 999) 1000) }}
{{- else -}}
{{ max 1 ($cpu | int64) }}
{{- end -}}
{{- end }}

{{- define "evenshard.gracePeriodSeconds" -}}
{{ add .Values.shutdown.preStopSeconds 10 20 .Values.shutdown.marginSeconds }}
{{- end }}

{{- /* Every pod's security: no root. */}}
{{- define "evenshard.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "evenshard.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Settings, etcd and telemetry, as every process of evenshard wants them: (root). */}}
{{- define "evenshard.env" -}}
- name: ETCD_ENDPOINTS
  value: {{ include "evenshard.etcdEndpoints" . | quote }}
{{- $settings := dict "etcd_crash_safe" true "etcd_wait_seconds" 120 "record_seconds" 60 "trace_sample_percent" 5 -}}
{{- range $name, $value := .Values.settings -}}
{{- $_ := set $settings $name $value -}}
{{- end -}}
{{- if and (not .Values.etcd.enabled) .Values.externalEtcd.tls.secretName -}}
{{- $tls := .Values.externalEtcd.tls -}}
{{- $_ := set $settings "etcd_ca_file" (printf "/etc/evenshard/etcd-tls/%s" $tls.caKey) -}}
{{- if $tls.certKey -}}
{{- $_ := set $settings "etcd_cert_file" (printf "/etc/evenshard/etcd-tls/%s" $tls.certKey) -}}
{{- $_ := set $settings "etcd_key_file" (printf "/etc/evenshard/etcd-tls/%s" $tls.keyKey) -}}
{{- end -}}
{{- end -}}
{{- range $name := keys $settings | sortAlpha }}
{{- $value := get $settings $name }}
- name: EVENSHARD_{{ upper $name }}
  value: {{ if kindIs "float64" $value }}{{ eq $value (floor $value) | ternary (int64 $value | toString) (toString $value) | quote }}{{ else }}{{ toString $value | quote }}{{ end }}
{{- end }}
{{- if .Values.telemetry.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .Values.telemetry.otlpEndpoint | quote }}
{{- end }}
{{- end }}

{{- /* Who a service's pod is, and how many cores it has: (root, the component's values). */}}
{{- define "evenshard.serviceEnv" -}}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
# A node's cores are not this container's.
- name: PYTHON_CPU_COUNT
  value: {{ include "evenshard.cores" (index . 1).resources.limits.cpu | quote }}
- name: OMP_NUM_THREADS
  value: {{ include "evenshard.cores" (index . 1).resources.limits.cpu | quote }}
{{ include "evenshard.env" (index . 0) }}
{{- with (index . 1).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Liveness asks whether the process is alive, never for etcd or a recovery; the others whether it serves:
(port, the component's values). */}}
{{- define "evenshard.probes" -}}
{{- $port := index . 0 -}}
startupProbe:
  grpc:
    port: {{ $port }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ max 1 (div (add (index . 1).startupSeconds 4) 5) }}
livenessProbe:
  grpc:
    port: {{ $port }}
    service: liveness
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  grpc:
    port: {{ $port }}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}

{{- /* While it runs the pod leaves its Service's endpoints, and still takes calls; SIGTERM then lets it finish them. */}}
{{- define "evenshard.lifecycle" -}}
lifecycle:
  preStop:
    exec:
      command: [sleep, {{ .Values.shutdown.preStopSeconds | toString | quote }}]
{{- end }}

{{- /* What is at the beginning of every pod: (root). */}}
{{- define "evenshard.podHead" -}}
serviceAccountName: {{ include "evenshard.serviceAccountName" . }}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "evenshard.podSecurityContext" . | nindent 2 }}
{{- end }}

{{- /* The one container of a service: (root, component, its port, its values). */}}
{{- define "evenshard.container" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $port := index . 2 -}}
{{- $values := index . 3 -}}
{{- $keeps := has $component (list "shard" "counter") -}}
- name: {{ $component }}
  image: {{ include "evenshard.image" $root }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  args:
    - serve
    - {{ $component }}
    - --name={{ if $keeps }}{{ $component }}-$(POD_INDEX){{ else }}$(POD_NAME){{ end }}
    - --listen=0.0.0.0:{{ $port }}
    {{- if $keeps }}
    - --advertise=$(POD_NAME).{{ include "evenshard.fullname" $root }}-{{ $component }}.{{ $root.Release.Namespace }}.svc:{{ $port }}
    {{- else }}
    - --advertise=$(POD_IP):{{ $port }}
    {{- end }}
    {{- if $keeps }}
    - --data-dir=/var/lib/evenshard/data
    {{- end }}
    {{- if $root.Values.metrics.enabled }}
    - --metrics-listen=0.0.0.0:{{ $root.Values.metrics.port }}
    {{- end }}
  env:
    {{- if $keeps }}
    - name: POD_INDEX
      valueFrom:
        fieldRef:
          fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
    {{- end }}
    {{- include "evenshard.serviceEnv" (list $root $values) | nindent 4 }}
  ports:
    - name: grpc
      containerPort: {{ $port }}
    {{- if $root.Values.metrics.enabled }}
    - name: metrics
      containerPort: {{ $root.Values.metrics.port }}
    {{- end }}
  securityContext:
    {{- include "evenshard.containerSecurityContext" $root | nindent 4 }}
  {{- include "evenshard.probes" (list $port $values) | nindent 2 }}
  {{- include "evenshard.lifecycle" $root | nindent 2 }}
  resources:
    {{- toYaml $values.resources | nindent 4 }}
  # The last lines of the log, where the error stands that it ended for, are shown by kubectl describe.
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    {{- if $keeps }}
    - name: data
      mountPath: /var/lib/evenshard
    {{- end }}
    {{- include "evenshard.volumeMounts" $root | nindent 4 }}
{{- end }}

{{- /* Where a pod may run: (root, component, its values). */}}
{{- define "evenshard.placement" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index . 2 -}}
topologySpreadConstraints:
  {{- range $values.topologySpread }}
  - topologyKey: {{ .topologyKey }}
    maxSkew: {{ .maxSkew }}
    whenUnsatisfiable: {{ .whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "evenshard.selectorLabels" (list $root $component) | nindent 8 }}
  {{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "evenshard.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{- if and (not .Values.etcd.enabled) .Values.externalEtcd.tls.secretName }}
- name: etcd-tls
  secret:
    secretName: {{ .Values.externalEtcd.tls.secretName | quote }}
    defaultMode: 288
{{- end }}
{{- end }}

{{- define "evenshard.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if and (not .Values.etcd.enabled) .Values.externalEtcd.tls.secretName }}
- name: etcd-tls
  mountPath: /etc/evenshard/etcd-tls
  readOnly: true
{{- end }}
{{- end }}

{{- /* What cannot be rendered into something that works is refused here, with the remedy. */}}
{{- define "evenshard.check" -}}
{{- if and .Values.etcd.enabled .Values.externalEtcd.endpoints -}}
{{- fail "externalEtcd.endpoints names an etcd, and etcd.enabled installs another: set etcd.enabled=false, or leave the endpoints out" -}}
{{- end -}}
{{- if and (not .Values.etcd.enabled) (not .Values.externalEtcd.endpoints) -}}
{{- fail "there is no etcd: name yours by externalEtcd.endpoints=[host:2379], or install one by etcd.enabled=true" -}}
{{- end -}}
{{- $version := .Values.externalEtcd.version -}}
{{- $whose := "externalEtcd.version" -}}
{{- if .Values.etcd.enabled -}}
{{- $version = .Values.etcd.image.tag -}}
{{- $whose = "etcd.image.tag" -}}
{{- end -}}
{{- if regexMatch "^v?3\\.5\\.[0-2]([^0-9]|$)" $version -}}
{{- fail (printf "%s is %s: etcd 3.5.0 to 3.5.2 can lose consistency in a crash; use 3.5.3 or newer" $whose $version) -}}
{{- end -}}
{{- if regexMatch "^v?([0-2]\\.|3\\.[0-3]\\.)" $version -}}
{{- fail (printf "%s is %s: evenshard needs etcd 3.4 or newer" $whose $version) -}}
{{- end -}}
{{- $settings := .Values.settings -}}
{{- $mib := 1048576.0 -}}
{{- $shard := add (ceil (divf (get $settings "shard_memory_bytes" | default 1073741824) $mib)) 256 -}}
{{- $gateway := add (ceil (divf (addf (get $settings "gateway_cache_bytes" | default 268435456) (mulf 3 (get $settings "split_rows_bytes" | default 268435456))) $mib)) 384 -}}
{{- $router := add (ceil (divf (mulf 2 (get $settings "router_inflight_bytes" | default 268435456)) $mib)) 384 -}}
{{- $counter := add (ceil (divf (mulf 22 (get $settings "counter_keys" | default 16000000)) $mib)) 256 -}}
{{- range $component, $needed := dict "shard" $shard "gateway" $gateway "router" $router "counter" $counter -}}
{{- $limit := get (get (get $.Values $component).resources "limits") "memory" -}}
{{- if lt (include "evenshard.mebibytes" $limit | int64) ($needed | int64) -}}
{{- fail (printf "%s.resources.limits.memory is %s, but its settings want %dMi: raise the limit, or lower what settings give it" $component $limit ($needed | int64)) -}}
{{- end -}}
{{- end -}}
{{- range $component := list "router" "gateway" -}}
{{- $scaling := (get $.Values $component).autoscaling -}}
{{- if and $scaling.enabled (lt (int $scaling.maxReplicas) (int $scaling.minReplicas)) -}}
{{- fail (printf "%s.autoscaling.maxReplicas is below minReplicas" $component) -}}
{{- end -}}
{{- end -}}
{{- end }}
