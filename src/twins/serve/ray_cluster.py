"""A server on a Ray cluster: replicas that Ray Serve starts, balances and starts again, behind a proxy on its head.

All machines must see the weights under the same paths, and have twins installed.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..errors import TwinsError
from ..optional_dependencies import need
from ..quiet import quietly
from ..ray_connection import connected
from .settings import ServeSettings
from .sockets import address_of, bind
from .stopping import signals_call

NAME = "twins"  # of the application, as `serve status` has it
_HEAD = {"node:__internal_head__": 0.001}  # a resource that the head alone has
# For the proxy, which would leave other machines idle until the head's replicas hold as many requests as they may.
_EVENLY = {"RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0", "RAY_SERVE_PROXY_PREFER_LOCAL_AZ_ROUTING": "0"}
_NAMESPACE = "serve"  # in which Ray Serve has its actors
_PATIENCE = 30.0  # seconds for the cluster to answer
_NO_ROOM = "to be scheduled"  # is said by Ray Serve of replicas that have found no machine for half a minute
_PASSED_ON = 1.0  # seconds that the proxy has to pass on the last answers
_LONGEST_STOP = 20.0  # seconds for a replica that Ray Serve stops, which it also waits for one without room to begin
_OTHER_ROUTES = 64  # requests of a replica that need no place in a queue: the page, metrics, what is still coming in


@dataclass(frozen=True)
class Cluster:
    """Which one, HOST:PORT of its head or "auto", and what is asked of it: replicas, and CPUs of each."""

    address: str
    replicas: int = 1
    replica_cpus: int = 1


class Door(NamedTuple):
    """Where the proxy on the head listens."""

    host: str
    port: int
    address: str  # as a browser takes it


def serve_on_cluster(settings: ServeSettings, cluster: Cluster, say: Callable[[str], None]) -> None:
    """Deploy replicas and stay until a signal asks to stop; then finish what was accepted, and leave the cluster.

    `say` is given lines for people. Raises TwinsError for weights that cannot be opened, where no cluster answers or
    Ray Serve runs there already, and for a port that is taken.
    """
    weights_sha256 = _digests(settings)
    with connected(cluster.address) as ray:
        serve = need("ray.serve", extra="ray")
        logging.getLogger("ray.serve").setLevel(logging.ERROR)  # the command has lines of its own
        deployed = Deployed(ray, serve, settings, cluster, say)
        with signals_call(deployed.ask_to_stop):
            deployed.run(weights_sha256)


def _digests(settings: ServeSettings) -> dict[str, str]:
    from ..predict.jobs.plan import weights_digest  # heavy, so after the checks of flags
    from .models import name_and_file

    files = [name_and_file(weights)[1] for weights in settings.weights]
    return {file: weights_digest(file) for file in files}


class Deployed:
    """The replicas on a cluster that this process is connected to."""

    def __init__(
        self, ray: Any, serve: Any, settings: ServeSettings, cluster: Cluster, say: Callable[[str], None]
    ) -> None:
        self.ray, self.serve, self.settings, self.cluster, self.say = ray, serve, settings, cluster, say
        self.asked = threading.Event()
        self.handle: Any = None  # through which replicas are called, once all of them run

    def ask_to_stop(self, *_: object) -> None:
        self.asked.set()

    def run(self, weights_sha256: Mapping[str, str]) -> None:
        """Until it is asked to stop."""
        self._refuse_another()
        door = self._door()
        try:
            self._deploy(door, weights_sha256)
            if self._all_run():
                self.handle = self.serve.get_app_handle(NAME)
                self._say_what_is_served()
                self.say(f"listening on {door.address}; Ctrl-C stops it")
                self._watch()
        finally:
            self._take_down()

    # Beginning

    def _refuse_another(self) -> None:
        """Ray Serve is there once a cluster, and what it was started with cannot be changed."""
        actors = self.ray.util.list_named_actors(all_namespaces=True)
        if any(actor["namespace"] == _NAMESPACE for actor in actors):
            applications = ", ".join(self.serve.status().applications) or "no application"
            raise TwinsError(
                f"--ray {self.cluster.address}: Ray Serve runs there already ({applications}), and there is one a "
                "cluster; end it by serve shutdown"
            )

    def _door(self) -> Door:
        """A free port of the head, tried there. Raises TwinsError where it cannot be listened on."""
        tried = self.ray.remote(num_cpus=0, resources=_HEAD)(_free_door).remote(self.settings.host, self.settings.port)
        try:
            door: Door = self.ray.get(tried, timeout=_PATIENCE)
        except self.ray.exceptions.RayTaskError as error:
            line = str(error.cause) if isinstance(error.cause, TwinsError) else _last_line(str(error))
            raise TwinsError(f"{line} (on the cluster's head)") from error
        except self.ray.exceptions.RayError as error:
            raise self._silent(error) from error
        return door

    def _deploy(self, door: Door, weights_sha256: Mapping[str, str]) -> None:
        from .ray_replica import Replica

        settings = replace(self.settings, device=self._device())
        at_once = settings.queue * len(settings.weights) + _OTHER_ROUTES
        on_gpu = settings.device.startswith("cuda")
        deployment = self.serve.deployment(
            self.serve.ingress()(Replica),
            name=NAME,
            num_replicas=self.cluster.replicas,
            ray_actor_options={"num_cpus": self.cluster.replica_cpus, "num_gpus": int(on_gpu)},
            max_ongoing_requests=at_once,  # more than its queues hold, so that a replica itself says why it refuses
            max_queued_requests=at_once,
            backpressure_config={"status_code": 429, "retry_after_s": 1},
            graceful_shutdown_wait_loop_s=0.5,
            graceful_shutdown_timeout_s=min(settings.request_timeout, _LONGEST_STOP),
            max_constructor_retry_count=1,  # for the first; later Ray Serve tries for ever
            logging_config={"enable_access_log": False},  # there is a line a request already
        )
        application = deployment.bind(settings, weights_sha256, self.cluster.replica_cpus, os.getcwd())
        try:
            self.serve.start(
                proxy_location="HeadOnly",
                http_options={"host": door.host, "port": door.port},
                logging_config={"enable_access_log": False},
                controller_options={"runtime_env": {"env_vars": _EVENLY}},
            )
        except (RuntimeError, TimeoutError, self.ray.exceptions.RayError) as error:
            raise TwinsError(f"{door.address}: the proxy cannot listen there ({_first_line(error)})") from error
        target = self.serve.RunTarget(application, name=NAME)
        self.serve.run_many([target], wait_for_applications_running=False)

    def _device(self) -> str:
        """Of "auto" a GPU, if each replica can have one. Ray gives those that ask for none no count of them."""
        if self.settings.device != "auto":
            return self.settings.device
        return "cuda" if self.ray.cluster_resources().get("GPU", 0) >= self.cluster.replicas else "cpu"

    def _all_run(self) -> bool:
        """Wait for it; False where it is to stop before. Raises TwinsError for replicas that cannot begin."""
        said = False
        while not self.asked.wait(0.2):
            application = self._application()
            known = "\n".join([application.message, *(part.message for part in application.deployments.values())])
            if refusals := re.findall(r"TwinsError: (.+)", known):
                raise TwinsError(refusals[-1])
            if application.status == "DEPLOY_FAILED":
                raise TwinsError(f"--ray {self.cluster.address}: no replica can begin ({_last_line(known)})")
            if application.status == "RUNNING":
                return True
            if _NO_ROOM in known and not said:
                said = True
                self.say(f"waiting: {self._answering(application)}; {self._room()}")
        return False

    def _room(self) -> str:
        free = self.ray.available_resources()
        wanted = {"CPU": self.cluster.replica_cpus} | ({"GPU": 1} if self._device().startswith("cuda") else {})
        needed = " and ".join(_many(number, kind) for kind, number in wanted.items())
        left = " and ".join(_many(free.get(kind, 0), kind) for kind in wanted)
        return f"a replica needs {needed}, and the whole cluster has {left} left"

    def _say_what_is_served(self) -> None:
        """All replicas serve the same."""
        found = self.handle.broadcast("described").results(timeout_s=_PATIENCE)
        for line in found[0][1]:
            self.say(line)
        machines = ", ".join(sorted({machine for machine, _ in found}))
        self.say(f"{_many(len(found), 'replica')} on {machines}")

    # Going on

    def _watch(self) -> None:
        """Say when replicas have gone and when they are there again; starting them is Ray Serve's."""
        before = _running(self._application())
        while not self.asked.wait(1.0):
            application = self._application()
            if (now := _running(application)) != before:
                before = now
                self.say(self._answering(application))

    def _answering(self, application: Any) -> str:
        return f"{_running(application)} of {_many(self.cluster.replicas, 'replica')} answer"

    def _application(self) -> Any:
        """What Ray Serve knows of it. Raises TwinsError where it has gone."""
        give_up = time.monotonic() + _PATIENCE
        while True:
            try:
                application = self.serve.status().applications.get(NAME)
            except (self.ray.exceptions.RayError, self.serve.exceptions.RayServeException) as error:
                if time.monotonic() > give_up:
                    raise self._silent(error) from error
                time.sleep(1)
                continue
            if application is None:
                raise TwinsError(f"--ray {self.cluster.address}: somebody else has taken the replicas down")
            return application

    def _silent(self, error: Exception) -> TwinsError:
        return TwinsError(f"--ray {self.cluster.address}: the cluster does not answer ({_first_line(error)})")

    # Stopping

    def _take_down(self) -> None:
        if self.asked.is_set():
            self.say("stopping: what was accepted is finished")
        if self.handle is not None:
            self._finish_accepted()
        with quietly():  # Ray calls it a failure that what it is to end has ended
            self.serve.shutdown()

    def _finish_accepted(self) -> None:
        """Refuse what comes, and wait for what has come, before the proxy goes, which would cut it off."""
        give_up = time.monotonic() + self.settings.request_timeout
        try:
            self._call_all("stop")
            while any(self._call_all("working")) and time.monotonic() < give_up:
                time.sleep(0.1)
        except (self.ray.exceptions.RayError, self.serve.exceptions.RayServeException, TimeoutError) as error:
            self.say(f"no replica answers, so that nothing is waited for ({_first_line(error)})")
            return
        time.sleep(_PASSED_ON)

    def _call_all(self, method: str) -> list[Any]:
        """What the replicas answer that are alive."""
        found = self.handle.broadcast(method).results(timeout_s=_PATIENCE, return_exceptions=True)
        return [answer for answer in found if not isinstance(answer, BaseException)]


def _free_door(host: str, port: int) -> Door:
    """On the head."""
    with bind(host, port) as bound:
        numeric, free = bound.getsockname()[:2]
        return Door(numeric, free, address_of(bound))


def _running(application: Any) -> int:
    return sum(part.replica_states.get("RUNNING", 0) for part in application.deployments.values())


def _many(number: float, thing: str) -> str:
    return f"{number:g} {thing}{'s' * (number != 1)}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2][:200]
