"use client";

import { Hidden, Page } from "@/components/layout";
import { ScenesCard } from "@/features/scenes/scenes-card";

export function ScenesPage() {
  return (
    <Page>
      <Hidden as="h1">Scenes</Hidden>
      <ScenesCard />
    </Page>
  );
}
