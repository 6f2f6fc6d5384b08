"use client";

import { Card } from "@/components/card";
import { Empty } from "@/components/empty";
import { Small } from "@/components/layout";
import { Loaded } from "@/components/loaded";
import { Skeleton } from "@/components/skeleton";
import type { Gpu } from "@/lib/api/types";
import { useGpus } from "@/lib/queries/gpus";

import { DeviceItem } from "./device-item";

/** Every device: what it is, whether it is there, and who holds it. */
export function DevicesCard() {
  const gpus = useGpus();
  return (
    <Card title="Devices" aside={gpus.data && <Small>{summary(gpus.data)}</Small>}>
      <Loaded query={gpus} loading={<Skeleton rows={1} heightPx={64} />}>
        {(devices) =>
          devices.length === 0 ? (
            <Empty>
              <strong>No device yet</strong>A worker brings its devices: <code>constellation worker</code>
            </Empty>
          ) : (
            <ul style={{ listStyle: "none" }}>
              {devices.map((device) => (
                <DeviceItem key={device.id} device={device} />
              ))}
            </ul>
          )
        }
      </Loaded>
    </Card>
  );
}

function summary(devices: Gpu[]): string {
  const ready = devices.filter((device) => device.engine_ready).length;
  const held = devices.filter((device) => device.runs > 0).length;
  return `${ready} of ${devices.length} ready, ${held} in use`;
}
