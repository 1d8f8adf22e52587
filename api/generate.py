"""Makes the Python modules and their type stubs from the .proto files: ``make generate``.

Kubernetes 1.8 and 1.9 define the same full names with different fields. protobuf keeps all messages of a process in one
descriptor pool, which refuses that. So each API version is compiled separately, and its module gets a pool of its own,
``POOL``.
"""

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
SHARED_POOL = "DESCRIPTOR = _descriptor_pool.Default().AddSerializedFile("
OWN_POOL = "POOL = _descriptor_pool.DescriptorPool()\nDESCRIPTOR = POOL.AddSerializedFile("
STUB_ANCHOR = "DESCRIPTOR: _descriptor.FileDescriptor\n"
STUB_WITH_POOL = "POOL: _descriptor_pool.DescriptorPool\n" + STUB_ANCHOR
STUB_IMPORT = "from google.protobuf import descriptor as _descriptor\n"
STUB_POOL_IMPORT = STUB_IMPORT + "from google.protobuf import descriptor_pool as _descriptor_pool\n"


def replace_once(path: Path, old: str, new: str) -> None:
    """Replace the only occurrence of ``old``. Exit if there is none or more: protoc's output has changed then."""
    text = path.read_text()
    if text.count(old) != 1:
        sys.exit(f"{path}: expected exactly one {old!r}, the generator writes another form now")
    path.write_text(text.replace(old, new))


def generate(proto: Path, root: Path = ROOT) -> None:
    """Compile one .proto file, and give its module a pool of its own. ``root`` is the folder of the first package."""
    status = protoc.main(
        [
            "protoc",
            f"--plugin=protoc-gen-mypy={Path(sys.executable).with_name('protoc-gen-mypy')}",
            f"-I{root}",
            f"--python_out={root}",
            f"--mypy_out=quiet:{root}",
            str(proto.relative_to(root)),
        ]
    )
    if status:
        sys.exit(f"{proto}: protoc ended with {status}")
    replace_once(proto.with_name("api_pb2.py"), SHARED_POOL, OWN_POOL)
    stub = proto.with_name("api_pb2.pyi")
    replace_once(stub, STUB_ANCHOR, STUB_WITH_POOL)
    replace_once(stub, STUB_IMPORT, STUB_POOL_IMPORT)


if __name__ == "__main__":
    for source in sorted(ROOT.glob("plugin_gateway/api/*/api.proto")):
        generate(source)
