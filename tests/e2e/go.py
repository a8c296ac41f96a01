"""Programs in Go by others, of the versions that `go/` pins, built once each."""

import os
import pathlib
import re
import subprocess

HERE = pathlib.Path(__file__).parent
FOLDER = HERE / "go"
TOOLS = HERE.parent.parent / ".homeward" / "tools"
# The module and the folder in it.
PROGRAMS = {
    "actionlint": ("github.com/rhysd/actionlint", "cmd/actionlint"),
    "grpc-interop-client": ("google.golang.org/grpc", "interop/client"),
    "h2spec": ("github.com/summerwind/h2spec", "cmd/h2spec"),
}


def program(name):
    """The path of a program."""
    module, folder = PROGRAMS[name]
    version = re.search(rf"^\t{re.escape(module)} (\S+)", (FOLDER / "go.mod").read_text(), re.MULTILINE).group(1)
    path = TOOLS / f"{name}-{version}"
    if not path.is_file():
        print(f"  building {name} {version}", flush=True)
        TOOLS.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.unfinished")
        # The Go that is there, the versions that are written down, and no C compiler.
        settings = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off", "CGO_ENABLED": "0"}
        subprocess.run(
            ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", unfinished, f"{module}/{folder}"],
            check=True,
            cwd=FOLDER,
            env=os.environ | settings | {"GOCACHE": str(TOOLS / "go-cache")},
        )
        unfinished.rename(path)
    return str(path)
