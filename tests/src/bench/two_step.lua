-- Two-step pulls for wrk, one connection a thread: exchange, pull with the token that came back, and so on.
function init(args)
    bodies, sent, exhausted = {}, 0, 0
    for line in io.lines(args[1] .. "." .. number) do
        bodies[#bodies + 1] = line
    end
    environment = args[2]
    json = { ["Content-Type"] = "application/json" }
end

function request()
    if token then
        local path = "/api/vaults/" .. vault .. "/ci-pull?env=" .. environment
        local headers = { ["Authorization"] = "Bearer " .. token }
        token = nil
        return wrk.format("GET", path, headers)
    end
    sent = sent + 1
    if bodies[sent] == nil then
        exhausted = 1
        wrk.thread:stop()
        sent = #bodies
    end
    vault = bodies[sent]:match('"vaultId":"([^"]+)"')
    return wrk.format("POST", "/api/vault/oidc", json, bodies[sent])
end

function response(status, headers, body)
    token = status == 200 and body:match('"token":"([^"]+)"') or nil
end
