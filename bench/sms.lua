-- The load of bench_sms.py: each request sends a message to a recipient of its own.
--
-- Arguments: "onterms", path, Authorization header, or "kannel", path, "-"; then the sender, where callbacks go, the
-- number to count from, a file or "-", the milliseconds that each connection pauses before a request, and patterns of
-- recipients in which # stands for a digit. Every SID answered is written to the file, which costs the load generator
-- time, so there is none while speed is measured.

local function encoded(text)
  return (text:gsub("[^%w]", function(sign) return string.format("%%%02X", sign:byte()) end))
end

function init(args)
  is_kannel = args[1] == "kannel"
  path = args[2]
  sender = encoded(args[4])
  callback = encoded(args[5])
  count = tonumber(args[6])
  headers = is_kannel and {} or {
    ["Authorization"] = args[3],
    ["Content-Type"] = "application/x-www-form-urlencoded",
    -- What twilio-python sends with each request.
    ["Accept"] = "application/json",
    ["Accept-Charset"] = "utf-8",
    ["User-Agent"] = "twilio-python/9.13.0 (Linux x86_64) Python/3.11.2",
    ["X-Twilio-Client"] = "python-9.13.0",
  }
  patterns = {}
  for place = 9, #args do
    local head, digits = args[place]:match("^([^#]*)(#+)$")
    table.insert(patterns, { head = encoded(head), format = "%0" .. #digits .. "d", limit = 10 ^ #digits })
  end
  pause = tonumber(args[8])
  if pause > 0 then
    -- Spread, so that the connections do not move in step.
    delay = function()
      return math.random(0, 2 * pause)
    end
  end
  if args[7] ~= "-" then
    local file = io.open(args[7], "w")
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
  local recipient = pattern.head .. string.format(pattern.format, math.floor(count / #patterns) % pattern.limit)
  local text = "Your+appointment+is+tomorrow+at+ten.+Reply+C+to+cancel.+Number+" .. count
  count = count + 1
  if is_kannel then
    -- dlr-mask 3: delivered and undelivered, one callback a message.
    return wrk.format("GET", path .. "&from=" .. sender .. "&to=" .. recipient .. "&text=" .. text
      .. "&dlr-mask=3&dlr-url=" .. callback .. "%3Fid%3D" .. count .. "%26s%3D%25d", headers)
  end
  return wrk.format("POST", path, headers, "To=" .. recipient .. "&From=" .. sender .. "&StatusCallback=" .. callback
    .. "&Body=" .. text)
end

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    'RESULT {"answered": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, "refused": %d, "broken": %d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
