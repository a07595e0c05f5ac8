# Sourced by ./run and ./check: makes a virtual environment that fits pyproject.toml and leaves it alone while it does.
#
# A stamp in the environment names what it was made from: the checkout's path (its scripts hold absolute paths, so a
# moved checkout needs a new one) and the text of pyproject.toml. Comparing it needs no network and no Python.
#
# ONTERMS_VENV puts the environment elsewhere, for a checkout that the current user cannot write to.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="${ONTERMS_VENV:-$ROOT/.venv}"
case "$VENV" in /*) ;; *) VENV="$PWD/$VENV" ;; esac
unset PYTHONHOME

say() { printf '%s\n' "$*" >&2; }
die() { say "onterms: $*"; exit 1; }

hash_of() {
  if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1
}

# A launcher may exist and still not run (pyenv's shims do that), so each candidate is asked.
is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  local name path
  for name in ${ONTERMS_PYTHON:-} python3.13 python3.12 python3.11 python3 python; do
    path="$(command -v "$name" 2>/dev/null)" || continue
    if is_new_enough "$path"; then printf '%s\n' "$path"; return 0; fi
  done
  return 1
}

wanted_stamp() { { printf '%s\n' "$ROOT"; cat "$ROOT/pyproject.toml"; } | hash_of; }

# Succeeds when the environment holds what $1 (run or dev) needs. `-x` follows links, so a Python that is gone counts.
is_ready() {
  [ -x "$VENV/bin/python" ] && [ -r "$VENV/.onterms-$1" ] && [ "$(cat "$VENV/.onterms-$1")" = "$(wanted_stamp)" ]
}

owner_of() { stat -c %U "$1" 2>/dev/null || stat -f %Su "$1" 2>/dev/null || echo "another user"; }

require_writable() {
  if [ -e "$VENV" ] && { [ ! -O "$VENV" ] || [ ! -w "$VENV" ]; }; then
    say "onterms: $VENV belongs to $(owner_of "$VENV") and does not fit this checkout for $(id -un 2>/dev/null || id -u)."
    die "Remove it, or choose a folder of your own: ONTERMS_VENV=\$HOME/.cache/onterms-venv $0"
  fi
  local parent
  parent="$(dirname "$VENV")"
  [ -d "$parent" ] || mkdir -p "$parent" || die "cannot make the folder $parent."
  if [ ! -e "$VENV" ] && [ ! -w "$parent" ]; then
    say "onterms: $(id -un 2>/dev/null || id -u) may not write to $parent, where the virtual environment goes."
    die "Clone into a folder of your own, or choose one: ONTERMS_VENV=\$HOME/.cache/onterms-venv $0"
  fi
}

remove_venv() {
  [ -e "$VENV" ] || [ -L "$VENV" ] || return 0
  if [ ! -e "$VENV/pyvenv.cfg" ] && [ ! -e "$VENV/.onterms-made" ] && [ -n "$(ls -A "$VENV" 2>/dev/null)" ]; then
    die "$VENV is no virtual environment; move it away first."
  fi
  rm -rf "$VENV"
}

mark_made() { : > "$VENV/.onterms-made"; }

install_with_uv() {
  local target=$1 python=$2
  if [ ! -x "$VENV/bin/python" ]; then
    uv venv --quiet --python "${python:->=3.11}" "$VENV" && mark_made || return 1
  fi
  uv pip install --quiet --python "$VENV/bin/python" --editable "$target"
}

install_with_pip() {
  local target=$1 python=$2
  if [ ! -x "$VENV/bin/python" ]; then
    [ -n "$python" ] || die "needs Python 3.11 or newer (or uv, which fetches one). None was found on PATH."
    mkdir -p "$VENV" && mark_made
    if ! "$python" -m venv "$VENV"; then
      rm -rf "$VENV"
      die "$python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"
    fi
  fi
  "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || "$VENV/bin/python" -m ensurepip >/dev/null || return 1
  PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    "$VENV/bin/python" -m pip install --quiet --quiet --editable "$target"
}

build_environment() {
  local kind=$1 target=$ROOT stamp python=""
  stamp="$(wanted_stamp)"
  # An environment for development stays one when only ./run is used after pyproject.toml changed.
  if [ "$kind" = dev ] || [ -e "$VENV/.onterms-dev" ]; then target="$ROOT[dev]"; kind=dev; fi

  # Of another place, unfinished, or without its Python: made anew. An environment that somebody else's tool made is kept
  # and filled, never removed, while its Python will do.
  if [ ! -x "$VENV/bin/python" ] || ! is_new_enough "$VENV/bin/python"; then
    remove_venv
  elif [ -e "$VENV/.onterms-made" ] && [ "$(cat "$VENV/.onterms-made")" != "$ROOT" ]; then
    remove_venv
  fi
  rm -f "$VENV/.onterms-run" "$VENV/.onterms-dev"

  python="$(find_python)" || true
  say "onterms: preparing $VENV (once; a minute or two) ..."
  if ! command -v uv >/dev/null || ! install_with_uv "$target" "$python"; then
    ! command -v uv >/dev/null || say "onterms: uv did not manage it; trying pip."
    install_with_pip "$target" "$python" || die "could not install the packages pyproject.toml names; see above."
  fi

  if [ -e "$VENV/.onterms-made" ]; then printf '%s\n' "$ROOT" > "$VENV/.onterms-made"; fi
  printf '%s\n' "$stamp" > "$VENV/.onterms-run"
  if [ "$kind" = dev ]; then printf '%s\n' "$stamp" > "$VENV/.onterms-dev"; fi
}

# prepare run|dev: the only function to call.
prepare() {
  if is_ready "$1"; then return 0; fi
  require_writable
  # Two first starts at once would write over each other; the second waits and then finds all done.
  if command -v flock >/dev/null; then
    exec 9> "$VENV.lock" || die "cannot write $VENV.lock."
    flock 9
  fi
  is_ready "$1" || build_environment "$1"
  if command -v flock >/dev/null; then exec 9>&-; fi
}
