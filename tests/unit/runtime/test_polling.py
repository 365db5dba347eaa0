"""How a process of ours has gRPC wait for its sockets."""

import os
import subprocess
import sys

from evenshard.runtime.polling import IN_ONE_THREAD, VARIABLE

SWITCHES_PER_CALL_MAX = 0.5
CALLS = "200"
PROGRAM = r"""
import asyncio, os, sys
from evenshard.cli import main
assert "grpc" not in sys.modules  # it looks at its environment once
main.run = lambda arguments: 0
try:
    main.main()
except SystemExit:
    pass
import grpc, grpc.aio

def switches():
    total = 0
    for task in os.listdir("/proc/self/task"):
        said = open(f"/proc/self/task/{task}/status").read()
        if said.startswith("Name:\tevent_engine"):
            total += int(said.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return total

async def echo(request, context):
    return request

async def measured(calls):
    plain = bytes
    handler = grpc.unary_unary_rpc_method_handler(echo, plain, plain)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", {"C": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary("/a.B/C", plain, plain)
        assert await ask(b"x", timeout=30) == b"x"
        before = switches()
        for _ in range(calls):
            await ask(b"x", timeout=30)
        print((switches() - before) / calls)
    await server.stop(0)

asyncio.run(measured(int(sys.argv[1])))
"""


def switches_per_call(**environment: str) -> float:
    inherited = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, CALLS],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "xperiment" not in done.stderr  # gRPC says there which names it does not know
    return float(done.stdout)


def test_calls_of_a_process_of_ours_wake_no_further_threads() -> None:
    assert switches_per_call() < SWITCHES_PER_CALL_MAX
    assert switches_per_call(**{VARIABLE: IN_ONE_THREAD}) < SWITCHES_PER_CALL_MAX


def test_what_the_environment_says_stands() -> None:
    assert switches_per_call(**{VARIABLE: "event_engine_client,event_engine_listener"}) > SWITCHES_PER_CALL_MAX
