--[[ wrk script: reservations, each with the next token and a new Idempotency-Key.
ARGS   path, tokens file ("" for no credentials), run id, threads, quantity
OUTPUT one line "RESULT {json}": requests, seconds, bytes, errors, latencies in microseconds ]]
local threads = 0

function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

local tokens, position, sent, head, key, tail = {}, 0, 0, "", "", ""

function init(args)
  local path, file, run, count, quantity = args[1], args[2], args[3], tonumber(args[4]), tonumber(args[5])
  if file ~= "" then
    for line in io.lines(file) do tokens[#tokens + 1] = "\r\nAuthorization: Bearer " .. line end
  end
  if #tokens == 0 then tokens[1] = "" end
  -- Every thread starts elsewhere in the file, so that no account is asked for by all of them at once.
  position = math.floor(#tokens * id / count)
  local body = '{"quantity":' .. quantity .. '}'
  head = "POST " .. path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"]
    .. "\r\nContent-Type: application/json\r\nContent-Length: " .. #body
  key = "\r\nIdempotency-Key: " .. run .. "-" .. id .. "-"
  tail = "\r\n\r\n" .. body
end

function request()
  position = position % #tokens + 1
  sent = sent + 1
  return head .. tokens[position] .. key .. sent .. tail
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
