-- Send payments under keys that are made up as they go.
--
-- Arguments: a prefix of eight hexadecimal digits; how many keys there are, or 0 for no end of them; how many requests
-- in a row have the same key. Each thread counts in a space of its own, unless the keys have an end.

local thread_count = 0

function setup(thread)
   thread:set("number", thread_count)
   thread_count = thread_count + 1
end

function init(args)
   prefix, keys, repeats = args[1], tonumber(args[2]), tonumber(args[3])
   headers = { ["Content-Type"] = "application/json", ["Accept"] = "application/json" }
   -- Threads that share the keys begin at different ones.
   sent = keys > 0 and number * 7919 or 0
   space = keys > 0 and 0 or number
end

function request()
   local count = math.floor(sent / repeats)
   if keys > 0 then
      count = count % keys
   end
   sent = sent + 1
   local key = string.format("%s-%04x-4000-8000-%012x", prefix, space, count)
   headers["Idempotency-Key"] = key
   local body = '{"account": 4711, "amount": "4.20", "currency": "EUR", "reference": "order ' .. key .. '"}'
   return wrk.format("POST", nil, headers, body)
end

function done(summary, latency, requests)
   io.write(string.format(
      '\n{"requests": %d, "seconds": %.6f, "refused": %d, "failed": %d, "p50": %.6f, "p99": %.6f}\n',
      summary.requests, summary.duration / 1e6, summary.errors.status,
      summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
      latency:percentile(50) / 1e6, latency:percentile(99) / 1e6
   ))
end
