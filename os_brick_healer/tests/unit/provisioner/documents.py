#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.
"""What hypothesis makes up: JSON that is odd, and some nearly right."""

from typing import Any

import hypothesis
from hypothesis import strategies as st

#: For every property test: how long one example takes is the machine's
#: affair, and there must not be an end to odd documents.
settings = hypothesis.settings(
    deadline=None, max_examples=300,
    suppress_health_check=list(hypothesis.HealthCheck))

#: Any JSON at all.
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12)

_UUIDS = [f'0000000{n}-0000-4000-8000-00000000000{n}' for n in range(4)]


def one_of(*values: object) -> st.SearchStrategy[Any]:
    """One of the values, most of the time."""
    return st.sampled_from(values) | ANYTHING


def some_of(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with some of the keys and maybe another one."""
    return st.fixed_dictionaries({}, optional={**keys, 'other': ANYTHING})


def list_of(entry: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A list of entries, most of the time."""
    return st.lists(entry, max_size=4) | ANYTHING


uuids = one_of(*_UUIDS, _UUIDS[0].upper(), 'x')
backends = some_of(persistentID=one_of('b1', 'b2', ''))
volumes = list_of(some_of(
    uuid=uuids, alias=one_of('vol', ''), capacity=one_of(1, '1', 1 << 30),
    numReplicas=one_of(0, 2, 99), maxReplicaDownTime=one_of(0, 5, -1),
    location=list_of(some_of(
        uuid=uuids, backend=backends,
        replicaState=one_of('Available', 'Missing', 'Terminating', 'x')))))
targets = list_of(some_of(
    targetName=one_of('nqn.a', 'b'), name=one_of('nqn.a', 'nqn.b'),
    backend=backends, hostId=one_of('h1', 'h2'), volId=uuids,
    namespaces=list_of(some_of(uuid=uuids, volId=uuids))))
portals = list_of(some_of(
    persistentID=one_of('b1', 'b2'),
    portals=list_of(some_of(
        ip=one_of('192.0.2.1', '::1', 'x'), port=one_of(4420, '4420', 0),
        transport=one_of('TCP', 'RoCEv2', 'FC')))))
hosts = list_of(some_of(uuid=one_of('h1', 'h2'), nqn=one_of('nqn.h'),
                        name=one_of('compute-1', '')))

replicas = some_of(
    id=one_of('r1', 'r2', 'r3'), nqn=one_of('nqn.a', 'x'),
    namespace_uuid=uuids, state=one_of('available', 'missing', 'x'),
    size_bytes=one_of(1, 1 << 30, 0),
    portals=list_of(some_of(address=one_of('192.0.2.1', 'x'),
                            port=one_of(4420, 0), transport=one_of('tcp'))))
local_files = some_of(
    format=one_of(1, 2),
    volumes=st.dictionaries(st.sampled_from(['v1', 'v2']), some_of(
        alias=one_of('vol'), size_bytes=one_of(1, 1 << 30),
        replica_count=one_of(1, 2), grace_s=one_of(0.0, 5),
        hosts=list_of(one_of('here', 'there')), replicas=list_of(replicas),
        requests=st.dictionaries(st.text(max_size=3), one_of('r1')))
        | ANYTHING) | ANYTHING,
    spares=list_of(replicas), retired=list_of(replicas)) | ANYTHING
