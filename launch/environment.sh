# Sourced by quickstart.sh, test.sh and docs.sh: makes the environment that they
# run in.
#
# `prepare_environment EXTRA` (EXTRA may be empty) leaves `.venv` in the
# checkout with the package and that extra installed, and sets $python to its
# interpreter. An environment that fits pyproject.toml (and $PYTHON, if set) is
# used as it is. One whose making was interrupted, by a kill too, is made anew.

names=(python3.13 python3.12 python3.11 python3 python)
is_new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

# Prints the first Python >= 3.11 that can make environments: $PYTHON if set.
find_python() {
  local candidate found=''
  if [[ -n ${PYTHON:-} ]]; then
    names=("$PYTHON")
  fi
  for candidate in "${names[@]}"; do
    # A name may exist and still not run (a version manager's shim).
    "$candidate" -c "$is_new_enough" 2>/dev/null || continue
    found=$candidate
    "$candidate" -c 'import venv' 2>/dev/null || continue
    "$candidate" -c 'import ensurepip' 2>/dev/null ||
      "$candidate" -c 'import pip' 2>/dev/null || continue
    echo "$candidate"
    return
  done
  if [[ -n $found ]]; then
    echo "error: $found cannot make environments; install its venv module" \
      "(Debian, Ubuntu: apt install python3-venv)" >&2
  else
    echo "error: no Python >= 3.11 found (tried: ${names[*]});" \
      "install one, or set PYTHON=/path/to/python" >&2
  fi
  return 1
}

# Sets $python to the interpreter of .venv, which Windows keeps elsewhere.
set_python() {
  python=.venv/bin/python
  if [[ -d .venv/Scripts ]]; then
    python=.venv/Scripts/python
  fi
}

# Whether .venv has the version of Python that was asked for.
is_asked_for() {
  local version='import sys; print(sys.version)'
  [[ -z ${PYTHON:-} ||
    "$("$PYTHON" -c "$version")" == "$("$python" -c "$version")" ]]
}

prepare_environment() {
  local extra=$1 base stamp content
  # Only an environment made here is ever removed, never somebody's own.
  local ours=.venv/.made-by-twotsrec unfinished=.venv/.unfinished
  set_python
  if [[ -e $ours ]] && { [[ -e $unfinished ]] || ! is_asked_for; }; then
    rm -rf .venv
  fi
  if [[ ! -e .venv ]]; then
    base=$(find_python)
    echo "making .venv with $("$base" --version)" >&2
    mkdir .venv
    touch "$ours" "$unfinished"
    if "$base" -c 'import ensurepip' 2>/dev/null; then
      "$base" -m venv .venv
      set_python
    else # as Debian ships it: its own pip installs one into .venv
      "$base" -m venv --without-pip .venv
      set_python
      "$base" -m pip --python "$python" install --quiet pip
    fi
  fi
  if ! "$python" -c "import pip; $is_new_enough" 2>/dev/null; then
    echo 'error: .venv holds no Python >= 3.11 with pip; remove it' >&2
    return 1
  fi
  content=$("$python" - <<'PYTHON'
import hashlib, pathlib, sys
project = pathlib.Path('pyproject.toml').read_bytes()
print(hashlib.sha256(project).hexdigest(), pathlib.Path.cwd(), sys.version)
PYTHON
  )
  # What the tests need is more than what the package needs.
  for stamp in .venv/.installed-test ".venv/.installed-${extra:-base}"; do
    if [[ -e $stamp && $(<"$stamp") == "$content" ]]; then
      return
    fi
  done
  echo "installing twotsrec${extra:+[$extra]} into .venv" >&2
  if [[ -e $ours ]]; then
    touch "$unfinished"
  fi
  "$python" -m pip install --quiet --disable-pip-version-check \
    --only-binary=:all: --editable ".${extra:+[$extra]}"
  echo "$content" >"$stamp"
  rm -f "$unfinished"
}
