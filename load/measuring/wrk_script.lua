-- What wrk runs, after lines that set `method`, `headers`, `bodies`, `good_status`, `ending` and `most_calls`.
-- Its last line on standard output is a JSON object.

local ffi = require("ffi")
ffi.cdef([[
  typedef struct { long seconds; long microseconds; } wrk_script_time;
  int gettimeofday(wrk_script_time *now, void *zone);
]])

local function microseconds()
  local now = ffi.new("wrk_script_time")
  ffi.C.gettimeofday(now, nil)
  return tonumber(now.seconds) * 1000000 + tonumber(now.microseconds)
end

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

local asked = 0
-- Globals are what done() can read of a thread.
began, ended, incomplete, statuses = 0, 0, 0, {}

function init()
  began = microseconds()
end

function request()
  local body = bodies[asked % #bodies + 1]:gsub("{number}", tostring(asked))
  asked = asked + 1
  return wrk.format(method, nil, headers, body)
end

local answers = 0

function response(status, _, body)
  local kind = tostring(status)
  statuses[kind] = (statuses[kind] or 0) + 1
  if status == good_status and not body:find(ending, 1, true) then
    incomplete = incomplete + 1
  end
  answers = answers + 1
  if answers >= most_calls then
    ended = microseconds()
    wrk.thread:stop()
  end
end

local function json(numbers)
  local members = {}
  for name, number in pairs(numbers) do
    table.insert(members, string.format('"%s": %.0f', name, number))
  end
  return "{" .. table.concat(members, ", ") .. "}"
end

function done(summary, latency)
  local thread = threads[1]
  local errors = summary.errors
  local sockets = { connect = errors.connect, read = errors.read, write = errors.write, timeout = errors.timeout }
  local percentiles = {}
  for _, share in ipairs({ 50, 95, 99 }) do
    percentiles[share] = latency:percentile(share)
  end
  -- wrk goes on sleeping when the bound was reached.
  local ended = thread:get("ended")
  local duration = ended > 0 and ended - thread:get("began") or summary.duration
  print(string.format(
    '{"duration": %.0f, "statuses": %s, "incomplete": %.0f, "sockets": %s, "percentiles": %s}',
    duration, json(thread:get("statuses")), thread:get("incomplete"), json(sockets), json(percentiles)
  ))
end
