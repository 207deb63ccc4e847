-- Begins a new generation and gives it to a scope.
--
-- ARGV: the scope; how many scopes to keep at most.
-- Returns the generation.

local log = read_log()
redis.call('ZADD', KEYS[1], text(next_generation(log)), ARGV[1])
forget(log, tonumber(ARGV[2]))
write_log(log)
return text(log.latest)
