"""Programs for Node from the folders beside this file, with the packages that their lock files pin."""

import hashlib
import pathlib
import platform
import re
import shutil
import subprocess

HERE = pathlib.Path(__file__).parent
TOOLS = HERE.parent.parent / ".homeward" / "tools" / "node"
NODE_MAJOR_MIN = 20
# What is installed where the system has none as new.
NODE_VERSION = "22.21.1"
MACHINES = {"x86_64": "x64", "aarch64": "arm64"}


def run(folder, program, *arguments, **options):
    """Runs a program of a folder and fails when it fails."""
    install(HERE / folder)
    return subprocess.run([node(), program, *arguments], cwd=HERE / folder, check=True, **options)


def node():
    """The system's Node, or where that is missing or no longer kept up, one of our own."""
    path = shutil.which("node")
    if path and major(path) >= NODE_MAJOR_MIN:
        return path
    package = f"node-linux-{MACHINES[platform.machine()]}"
    path = TOOLS / "node_modules" / package / "bin" / "node"
    if not path.is_file():
        assert shutil.which("npm"), f"node {NODE_MAJOR_MIN} or newer is needed, or npm to install it with"
        TOOLS.mkdir(parents=True, exist_ok=True)
        npm("install", "--no-save", "--prefix", TOOLS, f"{package}@{NODE_VERSION}", cwd=TOOLS)
    return str(path)


def major(path):
    version = subprocess.run([path, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(re.match(r"v(\d+)", version).group(1))


def npm(*arguments, cwd):
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(["npm", *arguments, *quiet], cwd=cwd, check=True)


def install(folder):
    """Installs what the lock file lists, once."""
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    installed = folder / "node_modules" / ".installed"
    if installed.is_file() and installed.read_text() == wanted:
        return
    npm("ci", cwd=folder)
    installed.write_text(wanted)
