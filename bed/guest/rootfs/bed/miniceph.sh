#!/bin/bash
# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
# A one-node Ceph on loopback for tests: one mon, one osd, a pool named rbd. No mgr, no systemd.
# Usage: miniceph.sh start|stop   Environment: D (its directory), STORE=memstore|bluestore, SIZE, AUTH=none|cephx
set -eu
D=${D:?a directory for the cluster} STORE=${STORE:-memstore} SIZE=${SIZE:-1073741824} AUTH=${AUTH:-none}
export CEPH_CONF=$D/ceph.conf CEPH_ARGS=
case ${1:-start} in
start)
  rm -rf "$D"; mkdir -p "$D"/{mon,osd,run,log}
  fsid=$(cat /proc/sys/kernel/random/uuid)
  cat > "$CEPH_CONF" <<C
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:3300/0,v1:127.0.0.1:6789/0]
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
auth cluster required = $AUTH
auth service required = $AUTH
auth client required = $AUTH
keyring = $D/keyring
run dir = $D/run
pid file = $D/run/\$type.\$id.pid
admin socket = $D/run/\$cluster-\$name.\$pid.asok
log file = $D/log/\$name.log
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon allow pool delete = true
mon warn on pool no redundancy = false
ms bind ipv6 = false
[mon]
mon data = $D/mon/\$id
mon cluster log file = $D/log/cluster.log
mon data avail warn = 2
mon data avail crit = 1
[osd]
osd data = $D/osd/\$id
osd objectstore = $STORE
memstore device bytes = $SIZE
bluestore block size = $SIZE
bluestore block create = true
osd memory target = 939524096
[client]
log file = $D/log/\$name.\$pid.log
rbd default features = 1
C
  mon_key=() osd_key=()
  if [ "$AUTH" = cephx ]; then
    ceph-authtool --create-keyring "$D/keyring" --gen-key -n mon. --cap mon 'allow *'
    ceph-authtool "$D/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
    mon_key=(--keyring "$D/keyring")
  fi
  monmaptool --create --clobber --fsid "$fsid" --addv a '[v2:127.0.0.1:3300,v1:127.0.0.1:6789]' "$D/monmap" >/dev/null
  ceph-mon -c "$CEPH_CONF" --mkfs -i a --monmap "$D/monmap" "${mon_key[@]}"
  ceph-mon -c "$CEPH_CONF" -i a "${mon_key[@]}"
  osd_uuid=$(cat /proc/sys/kernel/random/uuid); mkdir -p "$D/osd/0"
  if [ "$AUTH" = cephx ]; then
    key=$(ceph-authtool --gen-print-key)
    ceph osd new "$osd_uuid" 0 -i - <<< "{\"cephx_secret\": \"$key\"}" >/dev/null
    printf '[osd.0]\n\tkey = %s\n' "$key" > "$D/osd/0/keyring"; osd_key=(--keyring "$D/osd/0/keyring")
  else
    ceph osd new "$osd_uuid" 0 >/dev/null
  fi
  ceph-osd -c "$CEPH_CONF" -i 0 --mkfs --osd-uuid "$osd_uuid" "${osd_key[@]}" 2>/dev/null
  ceph-osd -c "$CEPH_CONF" -i 0 "${osd_key[@]}" 2>/dev/null
  ceph osd pool create rbd 8 8 >/dev/null 2>&1
  ceph osd pool application enable rbd rbd >/dev/null 2>&1 ;;
stop)
  for name in osd.0 mon.a; do
    file=$D/run/$name.pid; [ -s "$file" ] || continue
    pid=$(cat "$file"); kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep .1; done
    kill -9 "$pid" 2>/dev/null || true
  done ;;
esac
