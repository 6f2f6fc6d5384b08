"use client";

import Link from "next/link";

import { Empty } from "@/components/empty";
import { Page } from "@/components/layout";

export default function NotFound() {
  return (
    <Page>
      <Empty>
        <strong>There is no such page</strong>
        <Link href="/">See all jobs</Link>
      </Empty>
    </Page>
  );
}
