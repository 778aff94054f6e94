-- KEYS: one hash per tenant. ARGV: the operation, the expiry, then for each key the number of its models, the models,
-- and what is given for each. Answers the tokens in that order.

local answer = {}
local at = 3

for _, key in ipairs(KEYS) do
  local count = tonumber(ARGV[at])
  local models = {unpack(ARGV, at + 1, at + count)}
  local held = {}
  local kind = redis.call('TYPE', key).ok
  if kind == 'hash' then
    held = redis.call('HMGET', key, unpack(models))
  elseif kind ~= 'none' then
    redis.call('DEL', key)
  end
  local changed = {}
  for i, model in ipairs(models) do
    local token = operate(held[i], ARGV[at + count + i])
    if token ~= '' and token ~= held[i] then
      table.insert(changed, model)
      table.insert(changed, token)
    end
    table.insert(answer, token)
  end
  if #changed > 0 then
    redis.call('HSET', key, unpack(changed))
  end
  limit_life(key)
  at = at + 1 + 2 * count
end

return answer
