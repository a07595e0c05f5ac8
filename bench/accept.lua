-- The load of bench_accept.py: each request sends a message to a recipient of its own.
--
-- Arguments: path, Authorization header, sender, number to count from, a file or "-", then one pattern of recipients
-- each, in which # stands for a digit. Every SID answered is written to the file, which costs the load generator time,
-- so there is none while speed is measured.

function init(args)
  path = args[1]
  sender = args[3]:gsub("%+", "%%2B")
  count = tonumber(args[4])
  headers = {
    ["Authorization"] = args[2],
    ["Content-Type"] = "application/x-www-form-urlencoded",
    -- What twilio-python sends with each request.
    ["Accept"] = "application/json",
    ["Accept-Charset"] = "utf-8",
    ["User-Agent"] = "twilio-python/9.13.0 (Linux x86_64) Python/3.11.2",
    ["X-Twilio-Client"] = "python-9.13.0",
  }
  patterns = {}
  for place = 6, #args do
    local head, digits = args[place]:match("^([^#]*)(#+)$")
    table.insert(patterns, { head = head:gsub("%+", "%%2B"), format = "%0" .. #digits .. "d", limit = 10 ^ #digits })
  end
  if args[5] ~= "-" then
    local file = io.open(args[5], "w")
    file:setvbuf("line")
    response = function(status, _, body)
      if status == 201 then
        file:write(body:match('"sid":"(%a%a%x+)"'), "\n")
      end
    end
  end
end

function request()
  local pattern = patterns[count % #patterns + 1]
  local rest = math.floor(count / #patterns) % pattern.limit
  local body = "To=" .. pattern.head .. string.format(pattern.format, rest) .. "&From=" .. sender
    .. "&Body=Your+appointment+is+tomorrow+at+ten.+Reply+C+to+cancel.+Number+" .. count
  count = count + 1
  return wrk.format("POST", path, headers, body)
end

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    'RESULT {"answered": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, "refused": %d, "broken": %d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
