-- KEYS: one string per tenant and model. ARGV: 'read' or 'bump', the expiry, then four random digits for each key.
-- Answers the tokens in that order.

local answer = {}

for i, key in ipairs(KEYS) do
  local token = redis.pcall('GET', key) -- of a key that is no string, an error, which is no token
  if is_bump or not is_token(token) then
    token = next_token(token, ARGV[i + 2])
    redis.call('SET', key, token)
  end
  limit_life(key)
  answer[i] = token
end

return answer
