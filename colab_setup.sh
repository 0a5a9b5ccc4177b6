#!/usr/bin/env bash
# Set up slmlab and run its main job: one question, put to every small language model at hand.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: bash colab_setup.sh [OPTIONS]     install, get an engine and models, run the first comparison
       bash colab_setup.sh test [--fast] [--locked] [--ollama FOLDER] [PYTEST ARGUMENTS]
                                         install what the tests need, run them

tests:
  --fast            only those that need no engine: about a minute, once all is installed
  --locked          with the versions in requirements.lock, each checked by its hash
  --ollama FOLDER   the protocol, the life of a server, and the notebooks, with an official Ollama
                    release unpacked in FOLDER (bin/ollama, lib/ollama)

options:
  --engine auto|ollama|embedded   auto (the default): Ollama where it is or can be installed,
                                  else the embedded engine
  --models MODEL...               models to get (default: those that fit this machine)
  --ollama-version X.Y.Z          install this Ollama release
  --from FOLDER                   set up without a network, from a folder that
                                  `python -m slmlab bundle FOLDER` filled elsewhere
  --no-demo                       do not run the first comparison
  --lab                           open JupyterLab on notebooks/ at the end
TEXT
}

say() { printf '\033[1m%s\033[0m\n' "$*"; }
die() { printf 'colab_setup.sh: %s\n' "$*" >&2; exit 1; }

# The full path of a folder; without a name, `cd` would take the one where we are.
folder() { [ -n "$1" ] && cd "$called_from" && cd -- "$1" 2>/dev/null && pwd; }

# A Python that is new enough; on Colab the one that runs the notebooks.
find_python() {
  local name
  for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10 python; do
    if command -v "$name" >/dev/null 2>&1 &&
      "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null &&
      { [ -z "$bundle" ] || [ -f "$(lock_for "$name")" ]; }; then
      command -v "$name"
      return
    fi
  done
  [ -z "$bundle" ] || die "$bundle has packages for none of this machine's Pythons, only $(locks)."
  die "Python 3.10 or newer is needed; install it from https://www.python.org/downloads/."
}

locks() { (cd "$bundle" && echo requirements-*.txt); }

# The bundle's list of packages for a Python, as slmlab/bundle.py names it.
lock_for() {
  "$1" -c 'import platform, sys
print("%s/requirements-%d.%d-%s-%s.txt"
      % (sys.argv[1], *sys.version_info[:2], platform.system(), platform.machine()))' "$bundle"
}

on_colab() { [ -n "${COLAB_RELEASE_TAG:-}" ]; }

make_environment() {
  local base
  if on_colab; then
    python=$(find_python)
    return
  fi
  if [ ! -x .venv/bin/python ]; then
    base=$(find_python)
    say "Making the Python environment .venv"
    if [ -z "$bundle" ] && command -v uv >/dev/null 2>&1; then
      uv venv --quiet --seed --python "$base" .venv
    else
      "$base" -m venv .venv ||
        die "Python cannot make a virtual environment here (on Debian: apt-get install python3-venv)."
    fi
  fi
  python=$PWD/.venv/bin/python
  PATH="$PWD/.venv/bin:$PATH"
  # uv installs in a quarter of pip's time, and today's pip downloads in half the time of the one that
  # Python 3.11 brings; where they cannot be had, that one does it all.
  [ "$locked" = yes ] || command -v uv >/dev/null 2>&1 ||
    pip_install ${wheels[@]+"${wheels[@]}"} --upgrade pip uv || true
}

# install NAME FILE... -- ARGUMENTS: pip-install once for each content of the files.
install() {
  local name=$1 files=() stamp mark
  shift
  while [ "$1" != -- ]; do files+=("$1"); shift; done
  shift
  stamp=$("$python" -c 'import hashlib, sys
print(hashlib.sha256(sys.version.encode() + b"".join(open(f, "rb").read() for f in sys.argv[1:])).hexdigest())' "${files[@]}")
  mark=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/.slmlab-$name
  if [ "$(cat "$mark" 2>/dev/null)" = "$stamp" ]; then return; fi
  say "Installing $name"
  if ! on_colab && command -v uv >/dev/null 2>&1; then
    uv pip install --quiet --python "$python" "$@" || pip_install "$@"
  else
    pip_install "$@"
  fi
  printf '%s' "$stamp" >"$mark"
}

pip_install() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }

install_slmlab() {
  # On Colab a running kernel does not see an editable install, so there slmlab is copied, and not
  # from what an earlier build left behind.
  if on_colab; then
    rm -rf build
    install slmlab pyproject.toml slmlab/*.py slmlab/*/*.py \
      slmlab/data/*.* slmlab/data/*/* -- '.[embedded]'
  elif [ -n "$bundle" ]; then
    local lock
    lock=$(lock_for "$python")
    [ -f "$lock" ] || die "$bundle has no packages for the Python of .venv, only $(locks). If this \
machine has a Python for one of these, remove the folder .venv and run this again."
    install packages "$lock" -- ${wheels[@]+"${wheels[@]}"} --require-hashes -r "$lock"
    install slmlab pyproject.toml -- ${wheels[@]+"${wheels[@]}"} --no-deps --no-build-isolation -e .
  else
    install slmlab pyproject.toml -- -e '.[notebooks]'
  fi
}

# The tests look at pages in Chromium and mount a network drive; without these they say what they
# skip.
get_system_packages() {
  local as_root=() missing=() package
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 ||
    missing+=(chromium)
  command -v fusermount3 >/dev/null 2>&1 || missing+=(fuse3)
  [ ${#missing[@]} -gt 0 ] || return 0
  say "Installing ${missing[*]} for the tests"
  ! command -v apt-get >/dev/null 2>&1 ||
    ${as_root[@]+"${as_root[@]}"} apt-get update -qq >/dev/null 2>&1 || true
  for package in "${missing[@]}"; do
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 ||
      say "No $package here and no way to install it: the tests that need it are skipped."
  done
}

lanes() { "$python" -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))'; }

run_tests() {
  local fast=no ollama='' status=0 system='' by_file=(--dist loadfile --no-loadscope-reorder)
  while [ $# -gt 0 ]; do
    case $1 in
      --fast) fast=yes; shift ;;
      --locked) locked=yes; shift ;;
      --ollama)
        ollama=$(folder "${2:-}") || die "--ollama needs the folder of a release."
        shift 2
        ;;
      *) break ;;
    esac
  done
  # Hundreds of processes start in the tests: what one of them has compiled, the others shall read.
  unset PYTHONDONTWRITEBYTECODE
  if [ "$fast" = no ]; then
    get_system_packages &
    system=$!
  fi
  make_environment
  if [ "$locked" = yes ]; then
    install tests requirements.lock -- --require-hashes -r requirements.lock
    install slmlab pyproject.toml -- --no-deps --no-build-isolation -e .
  else
    install tests pyproject.toml -- -e '.[dev]'
  fi
  if [ "$fast" = yes ]; then
    exec "$python" -m pytest tests/unit tests/repository -n logical --maxprocesses 4 \
      "${by_file[@]}" "$@"
  fi
  wait "$system"
  if [ -n "$ollama" ]; then
    [ $# -gt 0 ] || set -- tests/engine/test_contract.py tests/engine/test_contract_state.py \
      tests/engine/test_differences.py tests/engine/test_server.py tests/notebooks/test_newest.py
    exec "$python" -m pytest --ollama "$ollama" "$@"
  elif [ $# -gt 0 ]; then
    exec "$python" -m pytest "$@"
  fi
  # Files side by side, one more than there are cores, since many a test waits for something; then,
  # alone, what measures times.
  "$python" -m pytest -m "not alone" -n "$(lanes)" "${by_file[@]}" || status=$?
  "$python" -m pytest -m alone $(grep -rl --include='*.py' 'mark\.alone' tests) || status=$?
  exit "$status"
}

run_setup() {
  local lab=no arguments=() as_root=()
  while [ $# -gt 0 ]; do
    case $1 in
      --lab) lab=yes ;;
      --from)
        bundle=$(folder "${2:-}") || die "--from needs the folder of a bundle${2:+; there is no folder $2}."
        ls "$bundle"/requirements-*.txt >/dev/null 2>&1 ||
          die "$bundle is no bundle: \`python -m slmlab bundle FOLDER\` makes one, where there is a network."
        wheels=(--no-index "--find-links=$bundle/wheels")
        arguments+=(--from "$bundle")
        shift
        ;;
      -h | --help) usage; exit 0 ;;
      *) arguments+=("$1") ;;
    esac
    shift
  done
  make_environment
  install_slmlab
  # bash 3.2, which macOS has, calls an empty array unbound without this form.
  "$python" -m slmlab setup ${arguments[@]+"${arguments[@]}"}
  echo
  if on_colab; then
    say "Ready. Open the notebooks in notebooks/, from 00_start_here.ipynb on."
  elif [ "$lab" = yes ]; then
    # In a container everybody is root, and Jupyter wants to be told that this is meant.
    [ "$(id -u)" != 0 ] || as_root=(--allow-root)
    exec "$python" -m jupyterlab ${as_root[@]+"${as_root[@]}"} notebooks/
  else
    say "Ready. Open the notebooks with:  bash colab_setup.sh --lab --no-demo"
  fi
}

called_from=$PWD bundle='' wheels=() locked=no
cd "$(dirname "${BASH_SOURCE[0]}")"
if [ "${1:-}" = test ]; then
  shift
  run_tests "$@"
else
  run_setup "$@"
fi
