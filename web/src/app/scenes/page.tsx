import type { Metadata } from "next";

import { ScenesPage } from "./scenes-page";

export const metadata: Metadata = { title: "Scenes" };

export default function Scenes() {
  return <ScenesPage />;
}
