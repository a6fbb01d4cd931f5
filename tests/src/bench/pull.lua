-- One-step pulls for wrk: a request per line of the thread's file. With a rate, each thread keeps to its share of it.
function init(args)
    local headers = { ["Content-Type"] = "application/json" }
    requests, sent, exhausted = {}, 0, 0
    for line in io.lines(args[1] .. "." .. number) do
        requests[#requests + 1] = wrk.format("POST", "/api/vault/oidc/pull", headers, line)
    end
    local rate = tonumber(args[2])
    if rate then
        local ffi = require("ffi")
        ffi.cdef("typedef struct { long s; long ns; } moment; int clock_gettime(int, moment *);")
        local moment = ffi.new("moment")
        local function now()
            ffi.C.clock_gettime(1, moment)
            return tonumber(moment.s) * 1000 + tonumber(moment.ns) / 1e6
        end
        local step, due = 1000 / rate, nil
        -- milliseconds until the next request is due
        delay = function()
            local time = now()
            due = math.max((due or time) + step, time - 1000)
            return math.max(0, math.floor(due - time + 0.5))
        end
    end
end

function request()
    sent = sent + 1
    if requests[sent] == nil then
        exhausted = 1
        wrk.thread:stop()
        return requests[#requests]
    end
    return requests[sent]
end
