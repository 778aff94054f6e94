-- KEYS: one hash per tenant. ARGV: 'read' or 'bump', the expiry, then for each key the number of its models,
-- the models, and four random digits for each. Answers the tokens in that order.

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
  local minted = {}
  for i, model in ipairs(models) do
    local token = held[i]
    if is_bump or not is_token(token) then
      token = next_token(token, ARGV[at + count + i])
      table.insert(minted, model)
      table.insert(minted, token)
    end
    table.insert(answer, token)
  end
  if #minted > 0 then
    redis.call('HSET', key, unpack(minted))
  end
  limit_life(key)
  at = at + 1 + 2 * count
end

return answer
