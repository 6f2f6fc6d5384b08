"use client";

import styled from "@emotion/styled";

import { Mono, Muted, Row } from "@/components/layout";
import type { Scene } from "@/lib/api/types";
import { formatCount, formatDay, formatKm2, formatMetres, formatMoment } from "@/lib/format";

const BANDS_SHOWN = 6;

// The usual colours of the visible bands; any other band is grey.
const BAND_COLORS: Record<string, string> = {
  blue: "#3d7edb",
  green: "#2f9e5f",
  red: "#d2453d",
  nir: "#8e5bc9",
};

const Band = styled.span`
  display: inline-flex;
  align-items: center;
  gap: 5px;
  padding: 0 8px;
  border: 1px solid var(--line);
  border-radius: 99px;
  font-size: 12.5px;
  line-height: 20px;
  white-space: nowrap;

  &::before {
    content: "";
    width: 7px;
    height: 7px;
    border-radius: 50%;
    background: var(--band, var(--line-strong));
  }
`;

export function SceneRow({ scene }: { scene: Scene }) {
  return (
    <tr>
      <td>
        <strong style={{ fontWeight: 600 }} title={scene.uri}>
          {scene.key}
        </strong>
      </td>
      <td data-label="Taken" style={{ whiteSpace: "nowrap" }}>
        <Taken scene={scene} />
      </td>
      <td data-label="Bands">
        <Bands bands={scene.bands} />
      </td>
      <td data-label="CRS">
        <Mono title={scene.crs} style={{ whiteSpace: "nowrap" }}>{shortCrs(scene.crs)}</Mono>
      </td>
      <td data-label="Size" className="number">
        {formatCount(scene.width_px)} × {formatCount(scene.height_px)} px
      </td>
      <td data-label="GSD" className="number">
        {formatMetres(scene.gsd_m)}
      </td>
      <td data-label="Area" className="number">
        {formatKm2(scene.area_km2)}
      </td>
    </tr>
  );
}

function Taken({ scene }: { scene: Scene }) {
  if (scene.start_at === null) return <Muted>unknown</Muted>;
  const first = formatDay(scene.start_at);
  const last = scene.end_at === null ? first : formatDay(scene.end_at);
  return (
    <time dateTime={scene.start_at} title={formatMoment(scene.start_at)}>
      {first === last ? first : `${first} – ${last}`}
    </time>
  );
}

function Bands({ bands }: { bands: Scene["bands"] }) {
  const hidden = bands.slice(BANDS_SHOWN).map((band) => band.common_name ?? band.name);
  return (
    <Row gap={4} style={{ display: "inline-flex" }}>
      {bands.slice(0, BANDS_SHOWN).map((band) => {
        const name = band.common_name ?? band.name;
        return (
          <Band key={band.index} title={`band ${band.index}, ${band.dtype}`} style={colorOf(name)}>
            {name}
          </Band>
        );
      })}
      {hidden.length > 0 && <Muted title={hidden.join(", ")}>and {hidden.length} more</Muted>}
    </Row>
  );
}

function colorOf(name: string): React.CSSProperties {
  return { "--band": BAND_COLORS[name] } as React.CSSProperties;
}

/** WKT is shown by its name, the first thing between quotes. */
function shortCrs(crs: string): string {
  return /^[A-Z_]+\["([^"]+)"/.exec(crs)?.[1] ?? crs;
}
