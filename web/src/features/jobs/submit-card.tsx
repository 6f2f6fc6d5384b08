"use client";

import { Card, CardBody } from "@/components/card";
import { Loaded } from "@/components/loaded";
import { Notice } from "@/components/notice";
import { Skeleton } from "@/components/skeleton";
import { useModels } from "@/lib/queries/models";
import { useScenes } from "@/lib/queries/scenes";

import { SubmitForm } from "./submit-form";

/** The form, once models and scenes are known. */
export function SubmitCard() {
  const models = useModels();
  const scenes = useScenes();
  const loading = <Skeleton rows={4} heightPx={48} />;
  const keys = scenes.data?.pages.flatMap((page) => page.items.map((scene) => scene.key));
  return (
    <Card title="Submit a job">
      <Loaded query={models} loading={loading}>
        {(foundModels) => (
          <Loaded query={{ ...scenes, data: keys }} loading={loading}>
            {(foundKeys) =>
              foundModels.length > 0 && foundKeys.length > 0 ? (
                <SubmitForm models={foundModels} sceneKeys={foundKeys} />
              ) : (
                <CardBody>
                  <Notice tone="idle">
                    {foundModels.length === 0
                      ? "No model is registered yet: the dispatcher registers the packages in models/ when it starts"
                      : "No scene is registered yet: constellation scenes add PATH..."}
                  </Notice>
                </CardBody>
              )
            }
          </Loaded>
        )}
      </Loaded>
    </Card>
  );
}
