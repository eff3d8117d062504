# SPDX-License-Identifier: BSL-1.0
"""The kernels of test/system, each in a folder of the cache with a `vmlinuz`. Nothing is installed.

Tier 1 is Debian's own 6.1: its package is downloaded and unpacked, by version. A case that asks for a mediated device needs a module
that Debian does not build; it is built of Debian's source, for exactly that kernel, and kept beside it. Tier 2 is small and our own:
`linux-source-6.12` with the configuration of kernel.config, built once and kept by version and configuration.
"""
import contextlib
import fcntl
import glob
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tether")
PACKAGE = r"linux-image-6\.1\.0-\d+-amd64"  # not -cloud, not -rt, not -dbg
# In this order: each needs those before it. Names in the package are with '-' or '_' as the kernel's makefiles have it.
MODULES = ("irqbypass", "vfio", "vfio_virqfd", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci")
MORE_MODULES = {"kvm": ("ccp", "kvm", "kvm-amd"), "mdev": ("mdev", "mtty")}  # for a case that asks
# For the guest of a virtual machine inside the machine, likewise in order.
GUEST_MODULES = ("virtio_ring", "virtio", "virtio_mmio", "virtio_balloon", "virtio_mem")
BUILT = {"mtty": "samples/vfio-mdev/mtty.c"}  # not in Debian's package: where its source is
ALL_MODULES = tuple(one for one in (*MODULES, *GUEST_MODULES, *(one for some in MORE_MODULES.values() for one in some)) if one not in BUILT)
MODULE_TOOLS = {"make": "make", "gcc-12": "gcc-12", "xz": "xz-utils", "tar": "tar", "strip": "binutils"}
MODULE_HEADERS = {"libelf.h": "libelf-dev"}  # not for the header: kbuild's ready-made tools want its library
MODULE_ROOM = 1 << 30

SOURCE = "linux-source-6.12"
SUITE = "bookworm-backports"  # where it is, if the system's own suites do not have it
FRAGMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kernel.config")
TOOLS = {"make": "make", "gcc": "gcc", "flex": "flex", "bison": "bison", "bc": "bc", "xz": "xz-utils", "tar": "tar", "depmod": "kmod"}
HEADERS = {"libelf.h": "libelf-dev", "openssl/ssl.h": "libssl-dev"}
ROOM = 4 << 30  # bytes that the unpacked source and what is built of it need


class Skip(Exception):
    """It cannot be had here."""


class BuildFailed(Exception):
    """It could be had, and did not work: no reason to skip anything."""


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, stdin=subprocess.DEVNULL, capture_output=True, **options).stdout


def by_number(name):
    return [int(part) for part in re.findall(r"\d+", name)]


@contextlib.contextmanager
def locked(what):
    """One process at a time fetches. Whoever waited finds what it wants. What a killed one left behind is removed."""
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, f"lock-{what}"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in glob.glob(os.path.join(glob.escape(CACHE), f"work-{what}-*")):
            shutil.rmtree(left, ignore_errors=True)
        yield


def workplace(what):
    return tempfile.TemporaryDirectory(dir=CACHE, prefix=f"work-{what}-")


def candidate(package, options=()):
    """The version of a package that apt would take; None if it knows none."""
    try:
        found = re.search(r"Candidate: (\d\S*)", run("apt-cache", *options, "policy", package))
        return found and found.group(1)
    except (OSError, subprocess.CalledProcessError):
        return None


def download(package, version, work, options=()):
    """Downloads a package into the folder `work` and unpacks it there into `root`."""
    print(f"fetching {package} {version}", flush=True)
    try:
        run("apt-get", "-qq", *options, "download", f"{package}={version}", cwd=work, timeout=900)
    except subprocess.CalledProcessError as error:
        raise Skip(f"{package} cannot be downloaded: {error.stderr.strip().splitlines()[-1:] or error}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Skip(f"{package} cannot be downloaded: {error}") from error
    archive = next(name for name in os.listdir(work) if name.endswith(".deb"))
    run("dpkg", "-x", os.path.join(work, archive), os.path.join(work, "root"))
    os.remove(os.path.join(work, archive))
    return os.path.join(work, "root")


def check_tools(what, tools, headers, room):
    """Raises Skip unless `what` can be built here."""
    if platform.machine() != "x86_64":
        raise Skip(f"{what} is for x86_64, and this is {platform.machine()}")
    missing = [package for tool, package in tools.items() if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")]
    for header, package in headers.items():
        if not glob.glob(f"/usr/include/{header}") and not glob.glob(f"/usr/include/*/{header}"):
            missing.append(package)
    if missing:
        raise Skip(f"{what} cannot be built without {', '.join(missing)}: .ci/deps system")
    free = shutil.disk_usage(CACHE).free
    if free < room:
        raise Skip(f"building {what} needs {room >> 20} MiB in {CACHE}, and only {free >> 20} MiB are free")


def make(command, tree, work):
    """One step of the kernel's own build, in the folder `tree`."""
    not_ours = ("MAKEFLAGS", "MFLAGS", "ARCH", "CROSS_COMPILE", "KCONFIG_CONFIG")
    environment = {name: value for name, value in os.environ.items() if name not in not_ours}
    environment["LC_ALL"] = "C"
    log_path = os.path.join(work, "log")
    with open(log_path, "w", encoding="utf-8") as log:
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        status = subprocess.call(command, cwd=tree, env=environment, **streams)
    if status != 0:
        with open(log_path, encoding="utf-8", errors="replace") as log:
            raise BuildFailed(f"{' '.join(command)} failed:\n{log.read()[-4000:]}")


def put(made, into):
    """Gives what is whole its final name. What had it before was not whole, or is the same."""
    if os.path.isdir(into):
        os.rename(into, made + "-before")
    os.rename(made, into)


# Tier 1


def newest_package():
    """The newest of Debian's kernels that apt knows of, as (package, version); None if apt is not there or knows none."""
    try:
        lines = run("apt-cache", "search", "--names-only", r"^linux-image-6\.1\.0-").splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    names = sorted((name for name in (line.split()[0] for line in lines) if re.fullmatch(PACKAGE, name)), key=by_number)
    version = candidate(names[-1]) if names else None
    return (names[-1], version) if version else None


def has_all(folder):
    return all(os.path.exists(os.path.join(folder, name)) for name in ("vmlinuz", *(f"{module}.ko" for module in ALL_MODULES)))


def fetch(package, version, into):
    """Downloads and unpacks Debian's kernel, and keeps what the machine needs of it."""
    with workplace("debian") as work:
        root = download(package, version, work)
        kept = os.path.join(work, "kept")
        os.mkdir(kept)
        for folder, _, names in os.walk(root):
            for name in names:
                if name.startswith("vmlinuz-"):
                    shutil.copy(os.path.join(folder, name), os.path.join(kept, "vmlinuz"))
                elif name.removesuffix(".ko") in ALL_MODULES and name.endswith(".ko"):
                    shutil.copy(os.path.join(folder, name), os.path.join(kept, name))
        if not has_all(kept):
            raise Skip(f"{package} {version} has only {', '.join(sorted(os.listdir(kept)))}")
        put(kept, into)


def debians():
    """The folder of Debian's kernel and its modules, fetched if it is not in the cache yet."""
    with locked("debian"):
        there = sorted(filter(has_all, glob.glob(os.path.join(glob.escape(CACHE), "linux-image-*"))), key=by_number)
        newest = newest_package()
        if newest is None:
            if not there:
                raise Skip("apt knows of no linux-image-6.1.0-*-amd64, and none is in the cache: run apt-get update")
            return there[-1]
        into = os.path.join(CACHE, f"{newest[0]}_{newest[1].replace(':', '-')}")
        try:
            if into not in there:
                fetch(*newest, into)
        except Skip:
            if not there:
                raise
            return there[-1]  # an older one is better than none
        return into


def build_modules(folder, wanted):
    """Builds modules for Debian's kernel in `folder`, of that kernel's own source and headers, and keeps them beside it."""
    kernel, version = re.fullmatch(r"linux-image-(6\.1\.0-\d+-amd64)_(.+)", os.path.basename(folder)).groups()
    check_tools(", ".join(wanted), MODULE_TOOLS, MODULE_HEADERS, MODULE_ROOM)
    begin = time.monotonic()
    with workplace("modules") as work:
        # All of one version: a module for another kernel does not load, or loads and is wrong.
        common = f"linux-headers-{kernel.removesuffix('amd64')}common"
        for package in (f"linux-headers-{kernel}", common, "linux-kbuild-6.1", "linux-source-6.1"):
            root = download(package, version, work)
        headers = os.path.join(root, "usr", "src", f"linux-headers-{kernel}")
        with open(os.path.join(headers, "Makefile"), "w", encoding="utf-8") as file:
            file.write(f"include {root}/usr/src/{common}/Makefile\n")  # the package's has the place where it would be installed
        tree = os.path.join(work, "tree")
        os.mkdir(tree)
        names = [os.path.join("linux-source-6.1", BUILT[module]) for module in wanted]
        run("tar", "-xJf", os.path.join(root, "usr/src/linux-source-6.1.tar.xz"), "-C", tree, *names)
        for name in names:
            shutil.move(os.path.join(tree, name), tree)
        with open(os.path.join(tree, "Kbuild"), "w", encoding="utf-8") as file:
            file.write(f"obj-m := {' '.join(f'{module}.o' for module in wanted)}\n")
        make(["make", "-C", headers, f"M={tree}", "modules"], tree, work)
        for module in wanted:
            run("strip", "--strip-debug", os.path.join(tree, f"{module}.ko"))
            os.rename(os.path.join(tree, f"{module}.ko"), os.path.join(folder, f"{module}.ko"))
    print(f"built {', '.join(wanted)} in {time.monotonic() - begin:.0f} seconds", flush=True)


def with_modules(folder, more):
    """Debian's kernel in `folder`, with the modules that `more` stands for: those that its package lacks are built, once."""
    wanted = [module for one in more for module in MORE_MODULES[one] if module in BUILT]
    if wanted:
        with locked("modules"):
            missing = [module for module in wanted if not os.path.exists(os.path.join(folder, f"{module}.ko"))]
            if missing:
                build_modules(folder, missing)
    return folder


# Tier 2


def mirrors():
    """Where the system's own apt configuration gets Debian 12 from."""
    try:
        wanted = "$(REPO_URI) $(RELEASE) $(CODENAME) $(COMPONENT)"
        lines = [line.split() for line in run("apt-get", "indextargets", "--format", wanted, "Created-By: Packages").splitlines()]
    except (OSError, subprocess.CalledProcessError):
        return []
    # A suite may be named by its code name or as "stable"; then only the list that was fetched knows the name.
    return list(dict.fromkeys(words[0] for words in lines if "bookworm" in words[1:3] and words[-1] == "main"))


def private_apt(work):
    """Options that make apt look into SUITE alone, at the system's own mirror, with state in `work`: the system's stays untouched."""
    folder = os.path.join(work, "apt")
    os.makedirs(os.path.join(folder, "lists", "partial"))
    os.makedirs(os.path.join(folder, "archives", "partial"))
    sources = os.path.join(folder, "private.sources")
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    signed = f"Signed-By: {key}\n" if os.path.exists(key) else ""
    with open(sources, "w", encoding="utf-8") as file:
        for mirror in mirrors():
            file.write(f"Types: deb\nURIs: {mirror}\nSuites: {SUITE}\nComponents: main\n{signed}\n")
    settings = {"Dir::Etc::SourceList": sources, "Dir::Etc::SourceParts": "/dev/null", "Dir::State::Lists": os.path.join(folder, "lists"),
                "Dir::Cache": folder, "Acquire::Languages": "none", "APT::Get::List-Cleanup": "false"}
    if os.geteuid() == 0:
        settings["APT::Sandbox::User"] = "root"  # _apt may not look into root's cache folder
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def source_of(work):
    """(version, apt's options) of the newest source, asking the system's apt first and its mirror's backports then."""
    version = candidate(SOURCE)
    if version:
        return version, []
    if not mirrors():
        raise Skip(f"apt knows of no {SOURCE}, and of no mirror of Debian 12 that would have {SUITE}")
    options = private_apt(work)
    try:
        run("apt-get", "-qq", *options, "update", timeout=900)
    except subprocess.TimeoutExpired as error:
        raise Skip(f"the list of {SUITE} cannot be had within fifteen minutes") from error
    except (OSError, subprocess.CalledProcessError) as error:
        raise Skip(f"the list of {SUITE} cannot be had: {error}") from error
    version = candidate(SOURCE, options)
    if not version:
        raise Skip(f"{SUITE} does not have {SOURCE}")
    return version, options


def fragment():
    """(all lines of kernel.config, a name for them)."""
    with open(FRAGMENT, encoding="utf-8") as file:
        lines = sorted(line.strip() for line in file if line.startswith("CONFIG_"))
    return lines, hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def build(tree, work):
    """Configures and builds the source in `tree`. Answers (image, configuration)."""
    jobs = f"-j{len(os.sched_getaffinity(0))}"
    steps = (["make", "tinyconfig"], ["scripts/kconfig/merge_config.sh", "-m", ".config", FRAGMENT], ["make", "olddefconfig"],
             ["nice", "-n", "5", "make", jobs, "bzImage"])
    config = os.path.join(tree, ".config")
    for step in steps:
        make(step, tree, work)
        if "olddefconfig" in step:
            with open(config, encoding="utf-8") as file:
                lost = set(fragment()[0]) - set(file.read().splitlines())
            if lost:
                raise BuildFailed(f"this source does not take {', '.join(sorted(lost))}")
    return os.path.join(tree, "arch/x86/boot/bzImage"), config


def fetch_and_build(version, options, work, into):
    check_tools("the small kernel", TOOLS, HEADERS, ROOM)
    begin = time.monotonic()
    root = download(SOURCE, version, work, options)
    tree = os.path.join(work, "tree")
    os.mkdir(tree)
    print("unpacking and building the small kernel, once: this takes some thirteen minutes of one processor", flush=True)
    run("tar", "-xJf", *glob.glob(os.path.join(glob.escape(root), "usr/src/linux-source-*.tar.xz")), "-C", tree, "--strip-components=1")
    shutil.rmtree(root)
    image, config = build(tree, work)
    kept = os.path.join(work, "kept")
    os.mkdir(kept)
    shutil.copy(image, os.path.join(kept, "vmlinuz"))
    shutil.copy(config, os.path.join(kept, "config"))
    put(kept, into)
    print(f"built in {time.monotonic() - begin:.0f} seconds", flush=True)


def small():
    """The folder of the small kernel, built if it is not in the cache yet."""
    with locked("small"):
        name = fragment()[1]
        there = sorted(glob.glob(os.path.join(glob.escape(CACHE), f"small-linux_*_{name}")), key=by_number)
        if there and not candidate(SOURCE):
            return there[-1]  # no need to ask a mirror
        with workplace("small") as work:
            try:
                version, options = source_of(work)
                into = os.path.join(CACHE, f"small-linux_{version.replace(':', '-')}_{name}")
                if into not in there:
                    fetch_and_build(version, options, work, into)
            except Skip:
                if not there:
                    raise
                return there[-1]
        return into


def of_tier(tier, more=()):
    """The folder of a tier's kernel, with the modules that `more` (names of MORE_MODULES) asks for."""
    return small() if tier == 2 else with_modules(debians(), more)
