"use client";

import styled from "@emotion/styled";
import { useState } from "react";

import { CheckLabel, Hint, Input } from "@/components/field";
import { Row } from "@/components/layout";

const FILTER_FROM = 8; // with fewer scenes than this there is nothing to search

const Group = styled.fieldset`
  margin: 0;
  padding: 0;
  border: 0;
  min-width: 0;

  legend {
    padding: 0;
    margin-bottom: 5px;
    font-size: 13px;
    font-weight: 600;
  }
`;

const List = styled.div`
  display: flex;
  flex-direction: column;
  gap: 2px;
  height: 176px;
  margin-top: 6px;
  padding: 8px 10px;
  overflow-y: auto;
  border: 1px solid var(--line-strong);
  border-radius: 8px;
  background: var(--raised);
`;

const Quiet = styled.button`
  padding: 0;
  border: 0;
  background: none;
  color: var(--accent);
  font-size: 12.5px;
  cursor: pointer;
`;

type ScenePickerProps = { keys: string[]; chosen: string[]; onChange: (chosen: string[]) => void };

/** Scenes to tick, narrowed by typing. Chosen ones stay chosen while they are out of sight. */
export function ScenePicker({ keys, chosen, onChange }: ScenePickerProps) {
  const [text, setText] = useState("");
  const shown = keys.filter((key) => key.toLowerCase().includes(text.trim().toLowerCase()));
  const toggle = (key: string, isOn: boolean) =>
    onChange(isOn ? [...chosen, key] : chosen.filter((other) => other !== key));
  return (
    <Group>
      <legend>Scenes</legend>
      {keys.length >= FILTER_FROM && (
        <Input type="search" aria-label="Find scenes" placeholder="Find…" value={text} onChange={(event) => setText(event.target.value)} />
      )}
      <List>
        {shown.map((key) => (
          <CheckLabel key={key}>
            <input type="checkbox" checked={chosen.includes(key)} onChange={(event) => toggle(key, event.target.checked)} />
            <span style={{ overflowWrap: "anywhere" }}>{key}</span>
          </CheckLabel>
        ))}
        {shown.length === 0 && <Hint>No scene of this name.</Hint>}
      </List>
      <Row style={{ justifyContent: "space-between", marginTop: 5 }}>
        <Hint>
          {chosen.length} of {keys.length} chosen
        </Hint>
        {chosen.length > 0 ? (
          <Quiet type="button" onClick={() => onChange([])}>
            Clear
          </Quiet>
        ) : (
          <Quiet type="button" onClick={() => onChange(shown)}>
            Choose {text.trim() === "" ? "all" : "these"}
          </Quiet>
        )}
      </Row>
    </Group>
  );
}
