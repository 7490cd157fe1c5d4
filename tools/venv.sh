#!/usr/bin/env bash
#
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
#
# venv.sh DIR: makes (or brings up to date) the virtual environment DIR that
# every make target runs in. Takes the first Python >= 3.11 that it finds;
# PYTHON in the environment overrides the choice.
set -euo pipefail

cd "$(dirname "$0")/.."
venv=${1:?usage: tools/venv.sh DIR}

recent_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 \
            /usr/bin/python3}; do
        if recent_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

apt_install() {
    local sudo=
    if [ "$(id -u)" != 0 ]; then
        sudo=sudo
    fi
    DEBIAN_FRONTEND=noninteractive $sudo apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq "$@"
}

if ! python=$(find_python); then
    if ! command -v apt-get >/dev/null; then
        echo 'cannot make the environment: because no Python >= 3.11 was' \
            'found; name one, for example: make PYTHON=/usr/bin/python3.12' >&2
        exit 1
    fi
    apt_install python3 python3-venv
    python=$(find_python)
fi

# Debian splits ensurepip off into python3-venv; without it, venv makes a
# directory that has no pip.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    apt_install python3-venv
fi

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi

"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    -r requirements.txt -r test-requirements.txt -r doc/requirements.txt
# Editable: the tests see the tree as it is, and the entry points exist. The
# hook file is not placed by an editable install; the bed installs the wheel.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --no-deps --editable .
"$venv/bin/python" --version
