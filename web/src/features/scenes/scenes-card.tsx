"use client";

import { Button } from "@/components/button";
import { Card } from "@/components/card";
import { Empty } from "@/components/empty";
import { Small } from "@/components/layout";
import { Loaded } from "@/components/loaded";
import { Skeleton } from "@/components/skeleton";
import { Table } from "@/components/table";
import { formatPlural } from "@/lib/format";
import { useScenes } from "@/lib/queries/scenes";

import { SceneRow } from "./scene-row";

/** Every registered scene. */
export function ScenesCard() {
  const query = useScenes();
  const scenes = query.data?.pages.flatMap((page) => page.items);
  const count = scenes && `${formatPlural(scenes.length, "scene")}${query.hasNextPage ? " of more" : ""}`;
  return (
    <Card title="Registered scenes" aside={<Small>{count}</Small>}>
      <Loaded query={{ ...query, data: scenes }} loading={<Skeleton rows={6} heightPx={42} />}>
        {(found) =>
          found.length === 0 ? (
            <Empty>
              <strong>No scene yet</strong>Register some: <code>constellation scenes add PATH...</code>
            </Empty>
          ) : (
            <Table>
              <thead>
                <tr>
                  <th scope="col">Scene</th>
                  <th scope="col">Taken</th>
                  <th scope="col">Bands</th>
                  <th scope="col">CRS</th>
                  <th scope="col" className="number">
                    Size
                  </th>
                  <th scope="col" className="number">
                    GSD
                  </th>
                  <th scope="col" className="number">
                    Area
                  </th>
                </tr>
              </thead>
              <tbody>
                {found.map((scene) => (
                  <SceneRow key={scene.id} scene={scene} />
                ))}
              </tbody>
            </Table>
          )
        }
      </Loaded>
      {query.hasNextPage && (
        <div style={{ padding: 14, textAlign: "center" }}>
          <Button disabled={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
            Show more scenes
          </Button>
        </div>
      )}
    </Card>
  );
}
