"use client";

import styled from "@emotion/styled";
import Link from "next/link";
import { usePathname } from "next/navigation";

import { Logo } from "@/components/logo";
import { Who } from "@/features/session/who";
import { useAbout } from "@/lib/queries/about";

import { ConnectionBadge } from "./connection-badge";

const Bar = styled.header`
  position: sticky;
  top: 0;
  z-index: 10;
  background: var(--surface);
  border-bottom: 1px solid var(--line);
`;

const Inner = styled.div`
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: 4px 28px;
  max-width: 1360px;
  min-height: 56px;
  margin: 0 auto;
  padding: 8px 24px;

  @media (max-width: 720px) {
    padding: 10px 14px 6px;
    justify-content: space-between;

    nav {
      order: 1;
      flex-basis: 100%;
      margin-left: -8px;
    }
  }
`;

const Brand = styled(Link)`
  display: flex;
  align-items: center;
  gap: 10px;
  color: var(--text);
  font-weight: 700;
  letter-spacing: 0.01em;
  text-decoration: none;
`;

const Nav = styled.nav`
  display: flex;
  gap: 4px;
  flex: 1;

  a {
    padding: 6px 11px;
    border-radius: 8px;
    color: var(--muted);
    font-weight: 600;
    text-decoration: none;
  }

  a:hover {
    color: var(--text);
    background: var(--hover);
  }

  a[aria-current] {
    color: var(--text);
    background: var(--idle-soft);
  }
`;

const PAGES = [
  { href: "/", name: "Jobs" },
  { href: "/scenes/", name: "Scenes" },
];

/** Where one is, where else one can go, and whether the page is live. */
export function TopBar() {
  const path = usePathname();
  const about = useAbout();
  const dagster = about.data?.dagster_url;
  return (
    <Bar>
      <Inner>
        <Brand href="/">
          <Logo /> Constellation
        </Brand>
        <Nav aria-label="Pages">
          {PAGES.map(({ href, name }) => (
            <Link key={href} href={href} aria-current={path === href ? "page" : undefined}>
              {name}
            </Link>
          ))}
          {dagster && <a href={dagster}>Dagster</a>}
          <a href="/docs">API</a>
        </Nav>
        <Who />
        <ConnectionBadge />
      </Inner>
    </Bar>
  );
}
