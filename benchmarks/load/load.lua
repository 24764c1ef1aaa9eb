-- Sends one constant POST, paced by exponential think times if asked, and prints the result as JSON.
-- Arguments after `--`: the file with the body, the mean think time in ms (0: none).

local think_time_ms = 0

function init(args)
   local file = assert(io.open(args[1], "rb"))
   wrk.method = "POST"
   wrk.body = file:read("*a")
   wrk.headers["Content-Type"] = "application/json"
   file:close()
   think_time_ms = tonumber(args[2])
   math.randomseed(20)
   if think_time_ms > 0 then
      -- wrk takes whole milliseconds: round up or down by chance, so that the mean is kept.
      delay = function()
         return math.floor(-think_time_ms * math.log(1 - math.random()) + math.random())
      end
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write("\nRESULT ", string.format(
      '{"requests":%d,"duration_s":%f,"refused":%d,"broken":%d,' ..
      '"p50_ms":%f,"p95_ms":%f,"p99_ms":%f,"max_ms":%f}\n',
      summary.requests, summary.duration / 1e6, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
      latency.max / 1e3))
end
