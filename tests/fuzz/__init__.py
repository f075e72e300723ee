"""Coverage-guided fuzzing of every reader and of the public functions: `./scripts/fuzz`; CONTRIBUTING.md says how."""

# Modules of the standard library and of others whose branches guide the fuzzer, too: they read what is not trusted.
INSTRUMENTED = ("tarfile", "zipfile", "email", "packaging", "tomllib", "csv", "shlex", "configparser")
