import styled from "@emotion/styled";

/** Rows become blocks on narrow screens, where each cell names its column by `data-label`. */
export const Table = styled.table`
  width: 100%;
  border-collapse: collapse;

  th {
    padding: 9px 10px;
    text-align: left;
    font-size: 12.5px;
    font-weight: 600;
    color: var(--muted);
    background: var(--raised);
    border-bottom: 1px solid var(--line);
    white-space: nowrap;
  }

  td {
    padding: 12px 10px;
    border-bottom: 1px solid var(--line);
    vertical-align: middle;
  }

  th:first-of-type,
  td:first-of-type {
    padding-left: 18px;
  }

  th:last-of-type,
  td:last-of-type {
    padding-right: 18px;
  }

  tbody tr:last-of-type td {
    border-bottom: 0;
  }

  tbody tr:hover {
    background: var(--hover);
  }

  .number {
    text-align: right;
    white-space: nowrap;
  }

  @media (max-width: 760px) {
    &,
    tbody,
    tr,
    td {
      display: block;
    }

    thead {
      display: none;
    }

    tr {
      padding: 12px 0;
      border-bottom: 1px solid var(--line);
    }

    td,
    td.number {
      padding: 3px 18px;
      border: 0;
      text-align: left;
    }

    td[data-label]::before {
      content: attr(data-label) " ";
      color: var(--muted);
      font-size: 12.5px;
      margin-right: 6px;
    }
  }
`;
