"""An HTTP server over predictors: `twins serve`.

A request goes through these, in this order: `every_request` (its id, its log line, what goes wrong), `api_keys`,
`stopping` (whether it is still accepted), `application` (the routes), `uploads` (its body, in memory), `service`
(decoding, and predictions), `batching` (one thread a network, images of several requests together) and `results`
(JSON).
`models` opens the networks, `attention` looks into them, `running` is one process of a server, `workers` several, and
`ray_cluster` several on many machines, each of them a `ray_replica`.
"""
