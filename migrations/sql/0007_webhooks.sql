-- The API never reads a secret back: whoever makes a webhook sees it once.
grant select (id, account, url, event_types, created_at) on constellation.webhooks
   to constellation_api, constellation_api_all;
grant insert, delete on constellation.webhooks to constellation_api, constellation_api_all;
grant select on constellation.webhook_deliveries to constellation_api, constellation_api_all;

alter table constellation.webhooks enable row level security;
create policy own on constellation.webhooks to constellation_api
  using (account = (select current_setting('constellation.account', true)));
create policy every on constellation.webhooks to constellation_api_all using (true);
alter table constellation.webhook_deliveries enable row level security;
create policy own on constellation.webhook_deliveries to constellation_api
  using (account = (select current_setting('constellation.account', true)));
create policy every on constellation.webhook_deliveries to constellation_api_all using (true);

-- What an account is to be told is written with the event itself, whoever writes that.
create function constellation.plan_deliveries() returns trigger
language plpgsql security definer set search_path = pg_catalog as $$
begin
  insert into constellation.webhook_deliveries (webhook_id, account, event_id, event_type, body)
  select w.id, w.account, new.id, new.type,
         json_build_object('id', new.id, 'type', new.type, 'at', new.ts, 'job_id', new.job_id,
                           'account', new.account, 'payload', new.payload)::text
    from constellation.webhooks w
   where w.account = new.account
     and (w.event_types is null or new.type = any (w.event_types));
  return null;
end
$$;
create trigger events_webhooks after insert on constellation.events
  for each row when (new.type like 'job.%') execute function constellation.plan_deliveries();
