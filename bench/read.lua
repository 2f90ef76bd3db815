--[[ wrk script: GETs, each of the next line of a file.
ARGS   a file: one path a line, where needed followed by a space and an access token
OUTPUT one line "RESULT {json}": requests, seconds, bytes, errors, latencies in microseconds ]]
local messages, position = {}, 0

function init(args)
  for line in io.lines(args[1]) do
    local path, token = line:match("^(%S+) ?(%S*)$")
    local head = "GET " .. path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"]
    if token ~= "" then head = head .. "\r\nAuthorization: Bearer " .. token end
    messages[#messages + 1] = head .. "\r\n\r\n"
  end
end

function request()
  position = position % #messages + 1
  return messages[position]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"duration_us":%d,"bytes":%d,'
      .. '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d},'
      .. '"latency_us":{"min":%d,"mean":%.1f,"max":%d,"p50":%d,"p90":%d,"p95":%d,"p99":%d,"p99.9":%d}}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout,
    latency.min, latency.mean, latency.max, latency:percentile(50), latency:percentile(90),
    latency:percentile(95), latency:percentile(99), latency:percentile(99.9)))
end
