"""`twins serve`: predictions over HTTP, with a page for people."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TwinsError
from ..optional_dependencies import need
from ..recipes import Recipe
from ..recipes.classify import DECODERS
from ..shown_text import shown
from .numbers import number, whole_number

if TYPE_CHECKING:
    from ..serve.settings import ServeSettings

LIBRARIES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Its flags."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "serve",
        usage="twins serve [WEIGHTS | NAME=WEIGHTS] ... [--FLAG VALUE ...]",
        description="Serve networks over HTTP: a page for people at /, an interface for programs at /predict, which "
        "/openapi.json describes. SIGTERM and Ctrl-C finish what was accepted. For this machine alone, unless --host "
        "says otherwise.",
    )
    add = parser.add_argument
    add("weights", nargs="*", metavar="WEIGHTS", help="checkpoints of any dialect, and files that `twins export` wrote "
        "(default: the newest finished run below runs/); NAME=FILE gives one a name")  # fmt: skip
    add("--host", metavar="ADDRESS", default="127.0.0.1", help="where to listen; 0.0.0.0 lets other machines in")
    add("--port", type=whole_number(0, 65535), metavar="N", default=8000, help="0: a free one")
    add(
        "--workers",
        type=whole_number(1),
        metavar="N",
        default=1,
        help="processes, each with the networks in its own memory",
    )
    add("--ray", metavar="ADDRESS", help="serve on a Ray cluster: HOST:PORT of its head, or auto on one of its "
        "machines; all must see the weights by the same paths, and --host and --port are the head's")  # fmt: skip
    add("--replicas", type=whole_number(1), metavar="N", help="with --ray: processes on its machines, each with the "
        "networks in its own memory (default: 1)")  # fmt: skip
    add("--replica-cpus", type=whole_number(1), metavar="N", help="with --ray: CPUs that a replica is given, and "
        "computes with (default: 1)")  # fmt: skip
    add("--device", default="auto", help="auto (the best there is), cuda, cuda:N, mps or cpu")
    add(
        "--dtype", metavar="NAME", help="fp32, bf16 or int8: the CPU engine (default: fp32 on a CPU; PyTorch elsewhere)"
    )
    add("--ema", action=argparse.BooleanOptionalAction,
        help="take the moving average of the weights (default: where there is one)")  # fmt: skip
    add("--decoder", choices=DECODERS, default=DECODERS[0], help="classifiers: turbo reads JPEG files in half "
        "the time, with pixels that differ by less than 1 of 255 on average")  # fmt: skip
    add("--max-batch", type=whole_number(1), metavar="N", default=16, help="images of classifiers that go through the "
        "network together; segmenters and detectors take one at a time")  # fmt: skip
    add("--max-wait-ms", type=number(0), metavar="X", default=5.0, help="how long a batch waits for images that are "
        "still being read")  # fmt: skip
    add("--queue", type=whole_number(1), metavar="N", default=256, help="images of each network that may wait; beyond, "
        "clients are told to come again (429)")  # fmt: skip
    add("--max-upload-mb", type=number(0.001), metavar="X", default=32.0, help="size of a request, in MiB")
    add("--max-images", type=whole_number(1), metavar="N", default=32, help="images of a request")
    add("--max-megapixels", type=number(1e-6), metavar="X", help="of an image, which is refused by its header beyond "
        "(default: as in the network's run, or 179; 25 where objects have masks)")  # fmt: skip
    add("--request-timeout", type=number(0.01), metavar="SECONDS", default=60.0,
        help="in which a request has to come in")  # fmt: skip
    add("--api-key-file", metavar="FILE", help="keys, one a line: only who sends Authorization: Bearer KEY is answered")
    add("--request-log", action=argparse.BooleanOptionalAction, default=True, help="a line for each request")
    return parser


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    Recipe.check_field("device", args.device)
    _check_cluster_flags(args)
    for library in LIBRARIES:
        need(library, extra="serve")
    from ..serve.api_keys import read_api_keys  # after the check for the libraries
    from ..serve.settings import ServeSettings
    from ..serve.sockets import address_of, bind

    flags = {name: getattr(args, name) for name in ServeSettings.__dataclass_fields__ if name in args}
    keys = () if args.api_key_file is None else read_api_keys(Path(args.api_key_file))
    weights = tuple(args.weights) or (str(_newest()),)
    settings = ServeSettings(**{**flags, "weights": weights, "api_keys": keys})
    if args.ray is not None:
        from ..serve.ray_cluster import Cluster, serve_on_cluster

        _warn_if_open(settings)
        serve_on_cluster(settings, Cluster(args.ray, args.replicas or 1, args.replica_cpus or 1), _say)
        return 0
    with bind(settings.host, settings.port) as bound:
        _warn_if_open(settings)

        def all_ready() -> None:
            _say(f"listening on {address_of(bound)}; Ctrl-C stops it")

        if settings.workers > 1:
            from ..serve.workers import Workers

            Workers(settings, bound, _say, all_ready).run()
        else:
            from ..serve.running import prepare_server  # heavy, so after the checks

            prepare_server(settings, _say, all_ready).run(sockets=[bound])
    return 0


def _check_cluster_flags(args: argparse.Namespace) -> None:
    """Raises TwinsError for flags that do not go together."""
    if args.ray is None:
        for name in ("replicas", "replica_cpus"):
            if getattr(args, name) is not None:
                flag = name.replace("_", "-")
                raise TwinsError(f"--{flag} is for a Ray cluster: give --ray ADDRESS with it, or --workers instead")
        return
    if args.workers > 1:
        raise TwinsError("--workers is for this machine alone: give --replicas with --ray")
    if args.device.startswith("cuda:"):
        raise TwinsError(f"--device {args.device} is a GPU of one machine: with --ray give cuda, and each has its own")


def _warn_if_open(settings: ServeSettings) -> None:
    if settings.open_to_others:
        _say(f"warning: whoever reaches {settings.host} can use this server: --api-key-file asks for a key")


def _say(line: str) -> None:
    print(shown(line), flush=True)


def _newest() -> Path:
    from ..training.run_folder import BEST, newest_finished

    newest = newest_finished() / BEST
    _say(f"the newest finished run: {newest}")
    return newest
