-- What wrk does for a load, and what it tells of it: one line of JSON at the end.
--
--   wrk ... -s wrk.lua URL -- RAMP SECONDS [RATE CONNECTIONS]
--
-- Without a rate, the loop is closed: each connection asks again when it has its answer. Counted is
-- what is answered in the SECONDS after the first RAMP, in which nothing is counted: as many
-- requests are under way at their beginning as at their end, so none is lost.
--
-- With a rate (requests a second, of all connections together), each connection has its own times
-- to ask at, whatever becomes of its answers, and a latency is counted from that intended time:
-- what waits because the answer before it is late is late itself. That needs one thread for each
-- connection, since wrk does not say which connection an answer belongs to. What should have been
-- sent and has no answer in the end counts with the time that it has waited by then.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } moment;
  int clock_gettime(int clock, moment *now);
]]
local moment = ffi.new("moment")

local function now()
  ffi.C.clock_gettime(1, moment)
  return tonumber(moment.seconds) + tonumber(moment.nanoseconds) / 1e9
end

local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(args)
  local began = now()
  local rate, connections = tonumber(args[3]), tonumber(args[4])
  counted_from = began + tonumber(args[1])
  counted_to = counted_from + tonumber(args[2])
  answered, failed, latencies = 0, 0, {}
  if rate then
    interval = connections / rate
    local intended = began + interval * number / connections - interval
    local text, started

    function delay()
      intended = intended + interval
      return math.max(0, math.floor((intended - now()) * 1000))
    end

    function request()
      -- wrk waits for whole milliseconds, rounded down here: sent early counts from then.
      started = math.min(intended, now())
      waits_since = started
      text = text or wrk.format()
      return text
    end

    function latency_of(arrived)
      waits_since = started + interval
      if started >= counted_from and started < counted_to then
        return arrived - started
      end
    end
  end
end

function response(status)
  local arrived = now()
  if latency_of then
    local latency = latency_of(arrived)
    if not latency then return end
    table.insert(latencies, math.floor(latency * 1e6))
  elseif arrived < counted_from or arrived >= counted_to then
    return
  end
  if status == 200 then answered = answered + 1 else failed = failed + 1 end
end

function done(summary, latency, requests)
  local answered, failed, all, ended, late = 0, 0, {}, now(), 0
  for _, thread in ipairs(threads) do
    answered = answered + thread:get("answered")
    failed = failed + thread:get("failed")
    for _, microseconds in ipairs(thread:get("latencies")) do table.insert(all, microseconds) end
    local due, interval = thread:get("waits_since"), thread:get("interval")
    while due and due < thread:get("counted_to") do
      if due >= thread:get("counted_from") then
        table.insert(all, math.floor((ended - due) * 1e6))
        late = late + 1
      end
      due = due + interval
    end
  end
  local broken = summary.errors
  io.write(string.format(
    '\n{"answered": %d, "failed": %d, "late": %d, "broken": %d, "latencies": [%s]}\n',
    answered, failed, late, broken.connect + broken.read + broken.write + broken.timeout,
    table.concat(all, ",")
  ))
end
