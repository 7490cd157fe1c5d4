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
"""Every option of group [os_brick_healer], with its unit and its bounds."""

from oslo_config import cfg

GROUP = 'os_brick_healer'

agent_opts: list[cfg.Opt] = [
    cfg.StrOpt(
        'launch', default='systemd',
        choices=[
            ('systemd', 'start os-brick-healer.service; the agent lives in '
                        'its own unit and survives nova-compute'),
            ('process', 'start a detached process (new session, out of the '
                        "caller's control group where systemd-run can)"),
            ('thread', 'run inside the calling process; dies with it'),
            ('none', 'never start an agent from a connector'),
        ],
        help='How a connector makes sure that the agent of this host runs.'),
    cfg.StrOpt(
        'state_path', default='/var/lib/os-brick-healer',
        help='Directory of the journal, and of the lock that lets one agent '
             'use it. The agent and nova-compute both write to it.'),
    cfg.StrOpt(
        'run_path', default='/run/os-brick-healer',
        help='Directory of the control socket and the lock that lets one '
             'agent run on a host.'),
    cfg.StrOpt(
        'root_helper', default='sudo nova-rootwrap /etc/nova/rootwrap.conf',
        help='How the agent starts its privileged helper when it does not '
             'run as root.'),
    cfg.ListOpt(
        'control_users', default=['root', 'nova'],
        help='Users (names or numeric ids) whose processes may use the '
             'control socket.'),
    cfg.StrOpt(
        'provisioner', default='local',
        help='Name of the provisioner plugin (entry point namespace '
             'os_brick_healer.provisioners).'),
    cfg.BoolOpt(
        'paused', default=False,
        help='Start paused: watch and tell, change nothing.'),
    cfg.StrOpt(
        'metrics_textfile',
        help="File for the textfile collector of Prometheus' node_exporter "
             '(which reads only names that end in .prom). Default: none is '
             'written.'),
    cfg.FloatOpt(
        'metrics_interval', default=15.0, min=1.0, max=3600.0,
        help='Seconds between two writes of metrics_textfile.'),
    cfg.FloatOpt(
        'stop_timeout', default=10.0, min=0.1, max=60.0,
        help='Seconds that the agent waits, when it is told to stop, for '
             'what is under way. What is not done by then is taken up from '
             'the journal at the next start.'),
]

heal_opts: list[cfg.Opt] = [
    cfg.StrOpt(
        'profile', default='default',
        choices=[
            ('default', 'production: keep-alive 3 s, state polls every '
                        '0.25 s'),
            ('fast', 'shortest stalls: keep-alive 1 s, state polls every '
                     '0.1 s'),
        ],
        help='How quickly a lost leg is noticed and given up.'),
    cfg.FloatOpt(
        'grace_period', default=600.0, min=0.0, max=604800.0,
        help='Seconds that a lost leg may stay away before a replacement is '
             "requested. A volume's own grace, where the provisioner has "
             'one, wins.'),
    cfg.FloatOpt(
        'provisioner_interval', default=10.0, min=0.1, max=3600.0,
        help='Seconds between two questions to the provisioner about the '
             'volumes of this host. While something is being healed it is '
             'asked more often, down to a fifth of this.'),
    cfg.FloatOpt(
        'poll_interval', min=0.05, max=10.0,
        help='Seconds between two polls of controller states. Default: as '
             'the profile says.'),
    cfg.IntOpt(
        'keep_alive_timeout', min=1, max=60,
        help='Keep-alive time (seconds) of connections made for replicated '
             'volumes. Default: as the profile says.'),
    cfg.IntOpt(
        'reconnect_delay', default=1, min=1, max=60,
        help='Seconds between two attempts of the kernel to reconnect.'),
    cfg.FloatOpt(
        'resync_check_interval', default=2.0, min=0.1, max=600.0,
        help='Seconds between two looks at the progress of a resync.'),
    cfg.IntOpt(
        'heals_max', default=4, min=1, max=256,
        help='How many volumes are healed (actions and resyncs) at once.'),
    cfg.IntOpt(
        'replacements_per_hour_max', default=64, min=1, max=10000,
        help='How many replacements are requested in an hour, at most.'),
    cfg.FloatOpt(
        'brake_ratio', default=0.5, min=0.05, max=1.0,
        help='When more than this share of all back ends of this host (and '
             'at least three) is lost together, this host doubts itself and '
             'requests nothing.'),
    cfg.IntOpt(
        'flap_losses_max', default=3, min=1, max=32,
        help='Losses of one leg within flap_window after which its return '
             'is delayed, longer each time.'),
    cfg.FloatOpt(
        'flap_window', default=600.0, min=1.0, max=86400.0,
        help='Seconds; see flap_losses_max.'),
    cfg.FloatOpt(
        'flap_delay_max', default=600.0, min=1.0, max=86400.0,
        help='Longest delay (seconds) of a flapping leg.'),
    cfg.FloatOpt(
        'command_timeout', default=30.0, min=1.0, max=600.0,
        help='Deadline (seconds) of one mdadm or nvme command.'),
    cfg.FloatOpt(
        'lock_timeout', default=10.0, min=0.1, max=600.0,
        help="How long (seconds) one action waits for os-brick's locks "
             'before it is put off.'),
    cfg.IntOpt(
        'history_max', default=10000, min=100, max=1000000,
        help='How many lines of history the journal keeps.'),
]

kumoscale_opts: list[cfg.Opt] = [
    cfg.StrOpt(
        'kumoscale_config_file', default='/etc/kioxia/provisioner.conf',
        help="File in the format of KIOXIA's agent: [DEFAULT] prov_ip, "
             'prov_port, cert_file, token.'),
    cfg.StrOpt(
        'kumoscale_ca_file',
        help='Certificates that the provisioner is verified with. Default: '
             "the system's."),
    cfg.BoolOpt(
        'kumoscale_insecure', default=False,
        help='Do not verify the provisioner\'s certificate. Whoever can '
             'answer in its place can make this host delete replicas.'),
    cfg.StrOpt(
        'kumoscale_tenant',
        help="Tenant whose prefix stands before the REST API's paths."),
    cfg.FloatOpt(
        'kumoscale_connect_timeout', default=5.0, min=0.1, max=60.0,
        help='Seconds to connect to one address.'),
    cfg.FloatOpt(
        'kumoscale_read_timeout', default=60.0, min=0.1, max=600.0,
        help='Seconds to wait for an answer.'),
]

local_opts: list[cfg.Opt] = [
    cfg.StrOpt(
        'local_file', default='/var/lib/os-brick-healer/volumes.json',
        help='File of the local provisioner: volumes and spare replicas. '
             "The agent changes it: its user must be able to write the "
             "file's directory."),
]

connect_opts: list[cfg.Opt] = [
    cfg.FloatOpt(
        'connect_resolve_timeout', default=3.0, min=0.1, max=60.0,
        help='Seconds that attaching, detaching and extending a volume wait '
             "for the provisioner's word on which replicas it has now. "
             'Without it, what nova and the journal know is used.'),
    cfg.BoolOpt(
        'connect_stale_legs', default=False,
        help='Attach a volume even when only legs that are known to have '
             'missed writes can be reached, or when its legs carry another '
             'array than this host remembers. What was written since is '
             'then lost for good: set it for one attach, then unset it.'),
]

mapping_opts: list[cfg.Opt] = [
    cfg.StrOpt(
        'rbd_mounter', default='krbd',
        choices=[
            ('krbd', "the kernel's rbd driver, as os-brick alone does it"),
            ('rbd-nbd', 'a process, which is brought back when it dies'),
        ],
        help='How RBD images are mapped that are attached to the host '
             'itself (not by QEMU).'),
    cfg.IntOpt(
        'mapping_reattach_timeout', default=86400, min=1, max=2592000,
        help='Seconds that requests of a mapped device wait for a new '
             'server after its own has died, before they fail.'),
    cfg.IntOpt(
        'mapping_request_timer', default=200, min=50, max=30000,
        help='Milliseconds after which the kernel looks again at a request '
             "that does not come back, while a volume is mapped (the block "
             "layer's own 30000 is given back afterwards). What was under "
             'way when a server died goes on only then. The block layer '
             'adds up to a second. Each look at each request of slow storage '
             "is a line in the kernel's log."),
    cfg.FloatOpt(
        'mapping_attach_timeout', default=15.0, min=0.5, max=600.0,
        help='Seconds that a new server of a mapped volume is given to '
             'serve, before it is killed and another one is tried.'),
    cfg.FloatOpt(
        'mapping_proof_timeout', default=5.0, min=0.1, max=60.0,
        help='Seconds that a read through a new server is waited for.'),
    cfg.FloatOpt(
        'mapping_hang_time', default=2.0, min=0.2, max=600.0,
        help='Seconds that requests of a mapped device wait, none of them '
             'ending, before its server is asked whether it lives.'),
    cfg.FloatOpt(
        'mapping_answer_timeout', default=1.0, min=0.1, max=60.0,
        help='Seconds that it is given to answer, before it is killed.'),
    cfg.FloatOpt(
        'mapping_retry_max', default=30.0, min=0.25, max=3600.0,
        help='Longest pause (seconds) between two tries to serve a mapped '
             'volume again.'),
    cfg.IntOpt(
        'mapping_heals_max', default=8, min=1, max=64,
        help='How many mapped volumes are served again at once.'),
    cfg.IntOpt(
        'mapping_log_size', default=16, min=1, max=16384,
        help='MiB of the log of a mapped volume that are kept, at most; '
             'looked at every hour. What was said before is in another '
             'file of the same size.'),
    cfg.IntOpt(
        'mapping_log_age', default=30, min=1, max=3650,
        help='Days that the log of a volume is kept after its last line, '
             'once the volume has left this host.'),
]

source_opts: list[cfg.Opt] = [
    cfg.ListOpt(
        'attachment_sources', default=['journal'],
        help='Who is asked which volumes are attached to this host (entry '
             'point namespace os_brick_healer.attachments). The journal '
             'always counts; the others confirm it and name what it lacks.'),
    cfg.FloatOpt(
        'attachment_interval', default=600.0, min=1.0, max=86400.0,
        help='Seconds between two questions to each source of attachments.'),
    cfg.FloatOpt(
        'attachment_timeout', default=20.0, min=0.1, max=600.0,
        help='Seconds for one request to a source of attachments.'),
    cfg.StrOpt(
        'mapping_adopt', default='ours',
        choices=[
            ('never', 'only the command os-brick-healer adopt does'),
            ('ours', 'what this software has mapped and the journal lost'),
            ('any', 'also what somebody else has mapped, once device, '
                    'process, image and cookie agree'),
        ],
        help='Which mapped volumes the agent enters into the journal by '
             'itself, when a source has them attached to this host and the '
             'journal lacks them.'),
    cfg.StrOpt(
        'cinder_auth_section', default='cinder',
        help="Section with keystoneauth's options for Cinder (auth_type, "
             'auth_url, username, cafile and so on).'),
    cfg.StrOpt(
        'cinder_interface', default='public',
        choices=['public', 'internal', 'admin'],
        help="Which of Cinder's endpoints in the catalogue is asked."),
    cfg.StrOpt(
        'cinder_region', help='Region of that endpoint. Default: any.'),
    cfg.BoolOpt(
        'cinder_allow_http', default=False,
        help='Ask a Keystone or an endpoint of Cinder that is without TLS, '
             'or whose certificate is not verified (insecure). Whoever can '
             'listen there reads the password and the token.'),
    cfg.StrOpt(
        'kubernetes_url', default='https://kubernetes.default.svc',
        help='The API server: https://HOST:PORT.'),
    cfg.StrOpt(
        'kubernetes_token_file',
        default='/var/run/secrets/kubernetes.io/serviceaccount/token',
        help="File with a service account's token; read for each request."),
    cfg.StrOpt(
        'kubernetes_ca_file',
        default='/var/run/secrets/kubernetes.io/serviceaccount/ca.crt',
        help='Certificates that the API server is verified with.'),
    cfg.StrOpt(
        'kubernetes_node',
        help="This node's name in Kubernetes. Default: nova's host, else "
             "the host's name."),
    cfg.ListOpt(
        'kubernetes_drivers', default=['rbd.csi.ceph.com'],
        help="Names of the CSI drivers whose volumes are this host's "
             'business.'),
]

ALL_OPTS = (agent_opts + connect_opts + heal_opts + kumoscale_opts
            + local_opts + mapping_opts + source_opts)


def register(conf: cfg.ConfigOpts) -> None:
    """Register the options; safe to call more than once."""
    conf.register_opts(ALL_OPTS, group=GROUP)


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Entry point of oslo.config's generators."""
    return [(GROUP, list(ALL_OPTS))]
