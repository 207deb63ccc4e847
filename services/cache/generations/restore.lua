-- Adds what a process knows, in one or more calls.
--
-- What was invalidated after the log's beginning, and the log did not know, is invalidated anew: somebody may have found
-- what is older, and built upon it since. What was invalidated before keeps its generation: nobody trusts what is older.
--
-- ARGV: the life that the caller means; how many scopes to keep at most; the latest generation, the beginning and the
--       floor that the caller knows (the beginning is empty as long as more is to come); scopes, each followed by its
--       generation.
-- Returns the epoch, an empty one if it is another life.

local log = read_log()
if life_of(log) ~= ARGV[1] then
  return ''
end

local function kept_or_anew(generation)
  return generation <= log.beginning and generation or next_generation(log)
end

local floor = tonumber(ARGV[5])
log.latest = math.max(log.latest, tonumber(ARGV[3]))
if floor > log.floor then
  log.floor = kept_or_anew(floor)
end
for place = 6, #ARGV, 2 do
  local generation = tonumber(ARGV[place + 1])
  if generation > math.max(log.floor, tonumber(redis.call('ZSCORE', KEYS[1], ARGV[place]) or 0)) then
    redis.call('ZADD', KEYS[1], text(kept_or_anew(generation)), ARGV[place])
  end
end
forget(log, tonumber(ARGV[2]))
log.beginning = math.min(log.beginning, tonumber(ARGV[4]) or log.beginning)
write_log(log)
return epoch_of(log)
