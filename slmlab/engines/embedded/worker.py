"""One loaded model in a process of its own: llama.cpp's server, which only the engine can reach.

It listens at a socket in a folder that no other user can enter; on Windows at a port of 127.0.0.1,
where its key protects it, but for ``/health``.

It has its own process so that a crash in native code only affects one model, and so that unloading
really frees the memory. The configuration comes as one line of JSON on stdin; the address is
printed as one line on stdout. Later lines on stdin say how its threads are to wait for each other
(see ``waiting_threads``). When stdin closes, as it does however the parent ends, the process
ends too.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from slmlab.engines.embedded.waiting_threads import SLEEP, WaitingThreads
from slmlab.parent import end_with_parent

if TYPE_CHECKING:
    import xllamacpp


def has_gpu() -> bool:
    """Whether llama.cpp's build knows a GPU here, on which it then puts as many layers as fit."""
    import xllamacpp

    gpu = (
        xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_GPU,
        xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_IGPU,
    )
    return any(device["type"] in gpu for device in xllamacpp.get_device_info())


def parameters(config: dict[str, Any]) -> xllamacpp.CommonParams:
    """llama.cpp's parameters for a model, from the configuration on stdin."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = config["path"]
    params.hostnames = [config["socket"] or "127.0.0.1"]
    if config.get("projector"):
        params.mmproj.path = config["projector"]
        os.environ["LLAMA_MEDIA_MARKER"] = config["image_marker"]  # llama.cpp's server reads it
    params.port = 0
    params.api_keys = [config["key"]]
    params.ui = False
    if config.get("chat_template"):  # it may have come beside the file
        params.chat_template = config["chat_template"]
    # To fit a model to the memory of a GPU, llama.cpp reads it twice.
    params.fit_params = has_gpu()
    params.n_ctx = config["num_ctx"] * config["parallel"]
    params.n_parallel = config["parallel"]
    cache_type = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{config['cache_type'].upper()}")
    params.cache_type_k = params.cache_type_v = cache_type
    params.cpuparams.n_threads = config["threads"]
    params.cpuparams_batch.n_threads = config["threads"]
    # Threads that spin between tokens would take the cores that the HTTP server needs then.
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    # Each slot keeps what it read last. A second cache, for what slots forget, may take 8 GiB.
    params.cache_ram_mib = 0
    # By default a prompt takes over a slot with which it shares a tenth, so conversations that have
    # no more than the system prompt in common would push each other out.
    params.slot_prompt_similarity = 0.5
    if config["embedding"]:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type(config["pooling"])
        params.n_batch = params.n_ubatch = config["batch"]
    return params


def main() -> None:
    """Load the model that is named on stdin, print the server's address, and serve until EOF."""
    # During loading stdin is not read, so on Linux the system ends this process with its parent.
    end_with_parent()
    # llama.cpp prints to stdout too, so the address goes to a private copy of it.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    # This takes a while, so it comes before anybody asks for a model; so little else is imported.
    import xllamacpp

    line = sys.stdin.readline()
    if not line:  # the engine ended and never needed this process
        return
    config = json.loads(line)
    try:
        server = xllamacpp.Server(parameters(config))
    except Exception as error:
        _finish_log(xllamacpp.xllamacpp.__file__)
        print(json.dumps({"error": str(error)}), file=answer, flush=True)
        raise SystemExit(1) from error
    loaded = {"address": server.listening_address, "has_gpu": has_gpu()}
    print(json.dumps(loaded), file=answer, flush=True)
    threads = WaitingThreads()
    for line in sys.stdin:
        threads.sleep(line == SLEEP)
    # The native server's teardown may wait for running requests, which nobody needs any more.
    os._exit(0)


def _finish_log(library: str) -> None:
    """Wait until llama.cpp's log is written, with the reason in it: a thread of its own does that.

    The function that ends that thread is called by its name in the library, as compilers on Linux
    and macOS write it; elsewhere the thread gets a moment.
    """
    try:
        llama_cpp = ctypes.CDLL(library)
        llama_cpp._Z15common_log_mainv.restype = ctypes.c_void_p
        log = ctypes.c_void_p(llama_cpp._Z15common_log_mainv())
        llama_cpp._Z16common_log_pauseP10common_log(log)
    except (OSError, AttributeError):
        time.sleep(0.3)


if __name__ == "__main__":
    main()
