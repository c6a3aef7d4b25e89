-- Posts one body of a file after the other; "@" in a body becomes a number that no other request has.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("place", threads)
end

function init(args)
  headers = {["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. args[2]}
  bodies = {}
  for line in io.lines(args[1]) do
    bodies[#bodies + 1] = line
  end
  run = args[3]
  step = tonumber(args[5])
  turn = tonumber(args[4]) + place - 1 - step
end

function request()
  turn = turn + step
  local body = bodies[turn % #bodies + 1]:gsub("@", run .. turn, 1)
  return wrk.format("POST", nil, headers, body)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, "bad": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout
  ))
end
