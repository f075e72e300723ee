"""The service: an index of wheels over HTTP that converts what it does not have when it is asked for.

    config      [serve] of the configuration, and what holds without one
    published   the index as it is now: the store's current generation, and the wheels that the service made since
    http        parts of HTTP that several modules need: Accept, ETag, compression, CORS, answers as bytes
    simple      /simple/: PEP 503 and 691 pages of `published`
    files       /files/: wheels and their METADATA out of the store
    api         /api/v1/jobs: conversions and audits on request
    packages_api  /api/v1/packages: what the pages show, as JSON
    uploads     files that clients send: received within bounds, worked on in processes of their own
    tokens      tokens for what costs or writes: a file for each
    access      who a client is, what it may do, and how often
    catalogue   what the channels have, by the project that a user asks for
    state       the mirror's state and the queue, on a thread of their own
    jobs        the queue of jobs: `JobQueue`
    runner      runs jobs with an executor: `JobRunner`, and a handler for each kind and source
    ondemand    `Demand` makes pages and queues what they lack; `ChannelConverter` is the handler of channels' packages
    logs        one JSON line for each event and request
    metrics     counters and durations for /metrics
    service     `Service`: all of the above, opened and closed together
    app         the ASGI application: `Service` on FastAPI, and the two hot paths in front of it
    openapi     what the OpenAPI document says of the two
    protocol    uvicorn's protocol, with fewer writes
    connections bounds of it: of time, size and number
    run         uvicorn, signals, the end

Requests go through `app.Front`, which gives each an id, counts and logs it, answers /simple/ and /files/ itself, and
hands the rest to FastAPI. Whatever may wait for a disk, a store or a channel runs in a thread.

The service converts as the mirror does: with the same items (`mirror.state.model.ItemKey`), workers and store, so that a run of
the mirror finds what the service made.
"""
