"""What `shoal up` shows when the mesh is ready: the address, the demo key, and three commands to try."""

import json
import sys
from pathlib import Path
from typing import Any

from envoyconf.topology import LOOPBACK, Topology
from launcher.home import Home


def welcome(topology: Topology, home: Home, *, api_key: str, seconds: float) -> str:
    """The text. Its commands can be pasted into a shell as they are."""
    return f"""
Shoal is ready after {seconds:.1f} s: {front_address(topology)}
API key (tenant demo, tier premium): {api_key or "none, see the log of demo-key"}

Try a task, a stream, and gRPC:

{_curl(topology, api_key, {"task": "Name three fish.", "max_tokens": 40})}

{_curl(topology, api_key, {"task": "Tell me about the sea.", "max_tokens": 60, "stream": True})}

{_python(topology, api_key)}

Logs are in {_shown(home.logs)}. Ctrl-C stops everything."""


def front_address(topology: Topology) -> str:
    if topology.tls is None:
        return f"http://{LOOPBACK}:{topology.envoy.front}"
    return f"https://localhost:{topology.envoy.tls}"


def _curl(topology: Topology, api_key: str, body: dict[str, Any]) -> str:
    trust = f" --cacert {topology.tls.cert_file}" if topology.tls else ""
    key = f" -H 'X-API-Key: {api_key}'" if api_key else ""
    return f"curl -N{trust} {front_address(topology)}/api/v1/task{key} -d '{json.dumps(body)}'"


def _python(topology: Topology, api_key: str) -> str:
    """For the Python that runs this, which has all that it takes."""
    key = f", metadata=[('x-api-key', '{api_key}')]" if api_key else ""
    return f"""{_shown(Path(sys.executable))} -c "
import grpc
from shoal.agent.v1 import agent_pb2, agent_pb2_grpc
agent = agent_pb2_grpc.AgentServiceStub({_grpc_channel(topology)})
turn = agent_pb2.ExecuteRequest(task='Name three trees.', sampling={{'max_tokens': 40}})
print(agent.Execute(turn{key}).output)\""""


def _grpc_channel(topology: Topology) -> str:
    if topology.tls is None:
        return f"grpc.insecure_channel('{LOOPBACK}:{topology.envoy.front}')"
    certificate = f"open('{topology.tls.cert_file}', 'rb').read()"
    return f"grpc.secure_channel('localhost:{topology.envoy.tls}', grpc.ssl_channel_credentials({certificate}))"


def _shown(path: Path) -> str:
    """The path from here, if it lies below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
