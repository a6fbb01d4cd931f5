
-- What wrk measured, as one line of JSON.
local started = {}
local setup_one = setup
function setup(thread)
    setup_one(thread)
    started[#started + 1] = thread
end

function done(summary, latency, requests)
    local exhausted = 0
    for _, thread in ipairs(started) do
        exhausted = exhausted + (thread:get("exhausted") or 0)
    end
    local e = summary.errors
    io.write(string.format(
        '\nlpm-bench {"requests":%d,"microseconds":%d,"refused":%d,"broken":%d,"p50":%d,"p99":%d,"exhausted":%d}\n',
        summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
        latency:percentile(50), latency:percentile(99), exhausted))
end
