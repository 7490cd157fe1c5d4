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
"""Whose legs are behind the same controller, and who can do without one.

The loop's thread tells what it has read of each volume; the hands' threads
ask, so what is asked is copied first.
"""

from collections.abc import Iterable, Mapping

from os_brick_healer.replica import doubt, model


class Neighbours:
    """The volumes of this host, by the kernel names that they go by.

    :param seen: what each volume's last look has found; the loop's own.
    """

    def __init__(self, seen: Mapping[str, model.Seen]) -> None:
        self._seen = seen
        self._keys: dict[str, set[str]] = {}
        self.unread: set[str] = set()

    def named(self, key: str, names: Iterable[str]) -> None:
        """A look has found these names, so it has gone well."""
        self.unread.discard(key)
        for name in names:
            self._keys.setdefault(name, set()).add(key)

    def failed(self, key: str) -> None:
        """A look has failed: what the one before it found proves nothing.

        A leg that answered then may be silent by now, another host may have
        the volume, and nobody can tell while it cannot be read.
        """
        self.unread.add(key)

    def forget(self, key: str) -> None:
        """The volume is not here any more."""
        self.unread.discard(key)
        for keys in self._keys.values():
            keys.discard(key)

    def keys(self, name: str) -> frozenset[str]:
        """Which volumes a kernel name concerns, or has once."""
        return frozenset(tuple(self._keys.get(name, ())))

    def endangered(self, sharing: Mapping[model.ReplicaId, tuple[str, ...]]
                   ) -> dict[model.ReplicaId, str]:
        """Whom a deletion of a replica's controllers would hurt.

        :param sharing: by replica: what else is behind its controllers.
        """
        told = {}
        for replica, devices in sharing.items():
            hurt = [d for d in devices if not self._can_spare(d)]
            if hurt:
                told[replica] = ', '.join(hurt)
        return told

    def relied_on(self, sharing: Mapping[model.ReplicaId, tuple[str, ...]]
                  ) -> dict[model.ReplicaId, tuple[frozenset[
                      model.Portal], ...]]:
        """Over which portals those go on that would not be hurt.

        One of each is to answer right before the deletion: what a look saw
        is as old as that look, which may have waited for its turn.
        """
        return {replica: tuple(
            portals for device in devices for seen in self._looks(device)
            if (portals := doubt.relied_on(seen, device)))
            for replica, devices in sharing.items() if devices}

    def spare(self, sharing: Mapping[model.ReplicaId, tuple[str, ...]]
              ) -> dict[model.ReplicaId, dict[str, str]]:
        """What is behind a replica's controllers and is in no array.

        :returns: by replica: kernel names, with the uuids by which root
            finds that they still are what they are for us.
        """
        return {replica: {device: uuid for device in devices
                          if (uuid := self._out(device)) is not None}
                for replica, devices in sharing.items()}

    def _out(self, device: str) -> str | None:
        """The uuid of a replica that is out of its array."""
        found = {None if one is None else one.uuid
                 for seen in self._looks(device)
                 for one in (doubt.unused(seen, device),)}
        return found.pop() if len(found) == 1 else None

    def _can_spare(self, device: str) -> bool:
        """Whether a volume of ours can do without this leg now."""
        looks = self._looks(device)
        return bool(looks) and all(doubt.spares(seen, device)
                                   for seen in looks)

    def _looks(self, device: str) -> list[model.Seen]:
        """What is known of those whose leg this is."""
        return [seen for key in self.keys(device)
                if key not in self.unread
                and (seen := self._seen.get(key)) is not None
                and doubt.has(seen, device)]
