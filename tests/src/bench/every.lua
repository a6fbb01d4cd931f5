
-- What all scripts share: the threads count from 0, and what wrk measured leaves as one line of JSON.
local threads = {}

function setup(thread)
    thread:set("number", #threads)
    threads[#threads + 1] = thread
end

function done(summary, latency, requests)
    local exhausted = 0
    for _, thread in ipairs(threads) do
        exhausted = exhausted + (thread:get("exhausted") or 0)
    end
    local e = summary.errors
    io.write(string.format(
        '\nlpm-bench {"requests":%d,"microseconds":%d,"refused":%d,"broken":%d,"late":%d,"p50":%d,"p99":%d,"longest":%d,"exhausted":%d}\n',
        summary.requests, summary.duration, e.status, e.connect + e.read + e.write, e.timeout,
        latency:percentile(50), latency:percentile(99), latency.max, exhausted))
end
