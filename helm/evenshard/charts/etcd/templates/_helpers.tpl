{{- define "etcd.fullname" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}-etcd
{{- end }}

{{- define "etcd.selectorLabels" -}}
app.kubernetes.io/name: etcd
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: etcd
{{- end }}

{{- define "etcd.labels" -}}
{{ include "etcd.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: evenshard
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* name=http://its-host:2380 of every member. */}}
{{- define "etcd.initialCluster" -}}
{{- $name := include "etcd.fullname" . -}}
{{- $members := list -}}
{{- range $number := until (int .Values.replicas) -}}
{{- $members = append $members (printf "%s-%d=http://%s-%d.%s.%s.svc:2380" $name $number $name $number $name $.Release.Namespace) -}}
{{- end -}}
{{- join "," $members -}}
{{- end }}
